"""The SDK's error tree: one class per error code of the server (docs/api.md), and errors of the connection.

The text of every error is a sentence for a person. An unknown code, from a newer server, raises `ApiError`.
"""

from typing import ClassVar

import msgspec
from msgspec import Struct


class BlazeChatError(Exception):
    """Base of all errors of the SDK."""


# Errors of the connection and of the login


class Unreachable(BlazeChatError):
    """The server did not answer. It may or may not have executed the request."""


class NotBlazeChat(BlazeChatError):
    """The server at this address does not answer as a BlazeChat server does."""


class NotConnected(BlazeChatError):
    """There is no live connection, or it was lost before the server answered."""


class LoggedOut(BlazeChatError):
    """The client is not logged in: log in first, or again."""

    def __init__(self, detail: str = "You are not logged in. Log in first.") -> None:
        super().__init__(detail)


class SessionEnded(LoggedOut):
    """The session was revoked or has expired: log in again."""


class MessageDiscarded(BlazeChatError):
    """The message was removed from the outbox before it was sent."""


# Errors that the server returns


class FieldError(Struct, frozen=True):
    """An invalid field of the input, and what is wrong with it."""

    field: str
    detail: str


class Problem(Struct, frozen=True):
    """An error as the server returns it, over HTTP (RFC 9457) or on a socket.

    `retry_after` is in seconds.
    """

    code: str
    detail: str
    status: int = 0
    errors: list[FieldError] = []
    request_id: str | None = None
    retry_after: float | None = None


class ApiError(BlazeChatError):
    """The server rejected the request. `code` is stable, `detail` is a sentence for a person.

    `fields` lists the invalid fields of the input. `retry_after` is the number of seconds after which a
    retry can succeed; None if a retry makes no sense.
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


class TemplateFailed(ApiError):
    code = "template_failed"


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


def _by_code(error: type[ApiError]) -> dict[str, type[ApiError]]:
    found = {error.code: error}
    for subclass in error.__subclasses__():
        found |= _by_code(subclass)
    return found


ERRORS_BY_CODE = _by_code(ApiError)


def from_problem(problem: Problem) -> ApiError:
    """Return the exception for an error of the server."""
    return ERRORS_BY_CODE.get(problem.code, ApiError)(problem)


def invalid_unicode() -> InvalidInput:
    """Return the error for text that UTF-8 cannot encode."""
    detail = "The text is not valid Unicode: it contains a lone surrogate. Remove it and send again."
    return InvalidInput(Problem("invalid_input", detail))


def malformed_token() -> Unauthenticated:
    """Return the error for a token that no HTTP header can have. It does not contain the token."""
    detail = "This is not an API token: it is empty, or has spaces, line breaks or special characters."
    return Unauthenticated(Problem("unauthenticated", detail))


_BODILESS_PROBLEMS = {
    401: Problem("unauthenticated", "This request needs a valid access token. Log in to get one.", 401),
    404: Problem("not_found", "There is no such resource, or you have no access to it.", 404),
}
"""Errors by status, for responses to HEAD, which have no body."""

_decode_problem = msgspec.json.Decoder(Problem).decode


def from_response(status: int, body: bytes, retry_after: str | None) -> BlazeChatError:
    """Return the exception for an HTTP response that is not successful.

    `retry_after` is the value of the header, in seconds.
    """
    if not body and status in _BODILESS_PROBLEMS:
        return from_problem(_BODILESS_PROBLEMS[status])
    try:
        problem = _decode_problem(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        if status in (502, 503, 504):  # from a proxy that cannot reach the server
            return Unreachable(f"The server is down (its proxy answers {status}). Try again later.")
        detail = f"This address does not answer as a BlazeChat server does (status {status}). Check it."
        return NotBlazeChat(detail)
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return from_problem(msgspec.structs.replace(problem, status=status, retry_after=seconds))
