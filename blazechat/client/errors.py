"""What can go wrong, as exceptions: the server's codes (docs/api.md), and what lies between it and us.

Each has a sentence for a person as its text. Codes that this version does not know come as `ApiError`.
"""

from typing import ClassVar

import msgspec
from msgspec import Struct


class BlazeChatError(Exception):
    """Base of all errors of this package."""


# Between the server and us.


class Unreachable(BlazeChatError):
    """The server did not answer; what was asked may or may not have been done."""


class NotBlazeChat(BlazeChatError):
    """Something answers at this address, but not as a BlazeChat server does."""


class NotConnected(BlazeChatError):
    """There is no live connection right now, or it was lost before the answer came."""


class LoggedOut(BlazeChatError):
    """Nobody is logged in here: log in first, or anew."""


class SessionEnded(LoggedOut):
    """The session was ended elsewhere, or has expired; log in anew."""


class MessageDiscarded(BlazeChatError):
    """The message was taken out of the outbox before it was sent."""


# What the server answers.


class FieldError(Struct, frozen=True):
    """One thing that is wrong with the input: where, and what."""

    field: str
    detail: str


class Problem(Struct, frozen=True):
    """An error as the server tells of it, over HTTP (RFC 9457) or on a socket."""

    code: str
    detail: str
    status: int = 0
    errors: list[FieldError] = []
    request_id: str | None = None
    retry_after: float | None = None


class ApiError(BlazeChatError):
    """The server refused. `code` is stable, `detail` a sentence for a person.

    `fields` tells what is wrong with the input; `retry_after` is in seconds, where another try makes sense.
    """

    code: ClassVar[str] = ""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.detail = problem.detail
        self.status = problem.status
        self.fields = problem.errors
        self.retry_after = problem.retry_after
        self.request_id = problem.request_id


class InternalError(ApiError):
    code = "internal_error"


class BadRequest(ApiError):
    code = "bad_request"


class InvalidInput(ApiError):
    code = "invalid_input"


class ContentTooLarge(ApiError):
    code = "content_too_large"


class RequestTimeout(ApiError):
    code = "request_timeout"


class MethodNotAllowed(ApiError):
    code = "method_not_allowed"


class Unauthenticated(ApiError):
    code = "unauthenticated"


class TokenExpired(Unauthenticated):
    code = "token_expired"


class WrongCredentials(ApiError):
    code = "wrong_credentials"


class RefreshTokenInvalid(ApiError):
    code = "refresh_token_invalid"


class WrongPassword(ApiError):
    code = "wrong_password"


class Forbidden(ApiError):
    code = "forbidden"


class InsufficientScope(ApiError):
    code = "insufficient_scope"


class RegistrationClosed(ApiError):
    code = "registration_closed"


class InvitationInvalid(ApiError):
    code = "invitation_invalid"


class OriginNotAllowed(ApiError):
    code = "origin_not_allowed"


class TooManyAttempts(ApiError):
    code = "too_many_attempts"


class TicketInvalid(ApiError):
    code = "ticket_invalid"


class TooManyCommands(ApiError):
    code = "too_many_commands"


class TooManySockets(ApiError):
    code = "too_many_sockets"


class UnknownCommand(ApiError):
    code = "unknown_command"


class NotFound(ApiError):
    code = "not_found"


class UsernameTaken(ApiError):
    code = "username_taken"


class TooManyTokens(ApiError):
    code = "too_many_tokens"


class TooManyBots(ApiError):
    code = "too_many_bots"


class TooManyWebhooks(ApiError):
    code = "too_many_webhooks"


class WordTaken(ApiError):
    code = "word_taken"


class CommandFailed(ApiError):
    code = "command_failed"


class TooManyPosts(ApiError):
    code = "too_many_posts"


class EmailTaken(ApiError):
    code = "email_taken"


class AlreadyMember(ApiError):
    code = "already_member"


class DirectChatFixed(ApiError):
    code = "direct_chat_fixed"


class OwnerNeeded(ApiError):
    code = "owner_needed"


class ChatFull(ApiError):
    code = "chat_full"


class QuotaExceeded(ApiError):
    code = "quota_exceeded"


class TypeNotAllowed(ApiError):
    code = "type_not_allowed"


class UnreadableFile(ApiError):
    code = "unreadable_file"


class OffsetConflict(ApiError):
    code = "offset_conflict"


class MediaInUse(ApiError):
    code = "media_in_use"


class UploadUnfinished(ApiError):
    code = "upload_unfinished"


class UnsupportedBody(ApiError):
    code = "unsupported_body"


class WrongProtocol(ApiError):
    code = "wrong_protocol"


class ChecksumMismatch(ApiError):
    code = "checksum_mismatch"


class StorageFull(ApiError):
    code = "storage_full"


class ClientIdConflict(ApiError):
    code = "client_id_conflict"


class MessageWasDeleted(ApiError):
    code = "message_deleted"


class TooManyReactions(ApiError):
    code = "too_many_reactions"


class TooManyPins(ApiError):
    code = "too_many_pins"


class Unavailable(ApiError):
    code = "unavailable"


class Busy(Unavailable):
    code = "busy"


class StorageAway(Unavailable):
    code = "storage_away"


class ShuttingDown(Unavailable):
    code = "shutting_down"


def _by_code(kind: type[ApiError]) -> dict[str, type[ApiError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        found |= _by_code(child)
    return found


ERRORS_BY_CODE = _by_code(ApiError)


def from_problem(problem: Problem) -> ApiError:
    """The exception for what the server says."""
    return ERRORS_BY_CODE.get(problem.code, ApiError)(problem)


def invalid_unicode() -> InvalidInput:
    """What cannot be sent, since it has half a character in it."""
    return InvalidInput(Problem("invalid_input", "This is not valid Unicode: it has half a character."))


_BODILESS_PROBLEMS = {
    401: Problem("unauthenticated", "This needs a valid access token; log in again to get one.", 401),
    404: Problem("not_found", "There is nothing here, or nothing that you may see.", 404),
}
"""What answers to HEAD mean, which have no body."""

_decode_problem = msgspec.json.Decoder(Problem).decode


def from_response(status: int, body: bytes, retry_after: str | None) -> BlazeChatError:
    """The exception for an answer over HTTP that is none of success."""
    if not body and status in _BODILESS_PROBLEMS:
        return from_problem(_BODILESS_PROBLEMS[status])
    try:
        problem = _decode_problem(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        if status in (502, 503, 504):  # a proxy whose server is away
            return Unreachable(f"The server is away right now (its proxy answers {status}).")
        return NotBlazeChat(f"This address answers with {status}, and not as a BlazeChat server does.")
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return from_problem(msgspec.structs.replace(problem, status=status, retry_after=seconds))
