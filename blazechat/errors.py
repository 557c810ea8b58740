"""The one tree of errors: a stable code, an HTTP status and a sentence for a person.

Everything a user can do wrong, and everything that can be unavailable, is one of these. HTTP turns
them into RFC 9457 problems (`api/problems.py`), sockets into `{error, code}` frames or close codes.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with the input: where, and what."""

    field: str
    detail: str


class Error(Exception):
    """Base of all errors that are meant to be shown. `detail` is a sentence a person understands."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong on our side"
    detail: str = "The server met an error of its own. It has been logged."

    def __init__(
        self,
        detail: str | None = None,
        *,
        fields: tuple[FieldError, ...] = (),
        retry_after: int | None = None,
    ) -> None:
        if detail is not None:
            self.detail = detail
        self.fields = fields
        self.retry_after = retry_after
        """Seconds after which another try makes sense."""
        super().__init__(self.detail)


class InternalError(Error):
    pass


# What was asked is not well formed.


class BadRequest(Error):
    code, status, title = "bad_request", 400, "Bad request"
    detail = "The request could not be understood."


class InvalidInput(Error):
    code, status, title = "invalid_input", 422, "Invalid input"
    detail = "Something in the request is not as it has to be."

    @classmethod
    def of(cls, field: str, detail: str) -> "InvalidInput":
        return cls(detail, fields=(FieldError(field, detail),))


class ContentTooLarge(Error):
    code, status, title = "content_too_large", 413, "Content too large"
    detail = "The request's body is larger than this server takes."


class RequestTimeout(Error):
    code, status, title = "request_timeout", 408, "Request took too long"
    detail = "The request's body did not arrive in time."


class MethodNotAllowed(Error):
    code, status, title = "method_not_allowed", 405, "Method not allowed"
    detail = "This path does not answer to that method."


# Who is asking.


class Unauthenticated(Error):
    code, status, title = "unauthenticated", 401, "Log in first"
    detail = "This needs a valid access token; log in again to get one."


class SessionEnded(Unauthenticated):
    """The session was revoked or has expired. It has the code of `Unauthenticated`."""

    detail = "This session has ended; log in again."


class TokenExpired(Unauthenticated):
    code = "token_expired"
    detail = "The access token has expired; refresh it or log in again."


class WrongCredentials(Error):
    code, status, title = "wrong_credentials", 401, "Wrong user or password"
    detail = "There is no user with this name and password."


class RefreshTokenInvalid(Error):
    code, status, title = "refresh_token_invalid", 401, "Refresh token not valid"
    detail = "This refresh token is unknown, expired or was used before; log in again."


class WrongPassword(Error):
    code, status, title = "wrong_password", 403, "Wrong password"
    detail = "The present password is not right, so nothing was changed."


class Forbidden(Error):
    code, status, title = "forbidden", 403, "Not allowed"
    detail = "You may not do this."


class InsufficientScope(Error):
    code, status, title = "insufficient_scope", 403, "The token is not good for this"
    detail = "This token was not made for what you ask."


class RegistrationClosed(Error):
    code, status, title = "registration_closed", 403, "Registration is closed"
    detail = "This server does not take new accounts."


class InvitationInvalid(Error):
    code, status, title = "invitation_invalid", 403, "Invitation needed"
    detail = "Registering here needs an invitation that has not been used and has not expired."


class OriginNotAllowed(Error):
    code, status, title = "origin_not_allowed", 403, "Origin not allowed"
    detail = "Web pages of this origin may not open sockets here; see BLAZECHAT_ALLOWED_ORIGINS."


class TooManyAttempts(Error):
    code, status, title = "too_many_attempts", 429, "Too many attempts"
    detail = "Too many failed log-ins; wait a little before the next."


class TicketInvalid(Error):
    code, status, title = "ticket_invalid", 401, "Ticket not valid"
    detail = "This ticket is unknown, expired or was used before; ask for another."


class TooManyCommands(Error):
    code, status, title = "too_many_commands", 429, "Too many commands"
    detail = "This socket sends faster than the server allows; it is closed if that goes on."


class TooManySockets(Error):
    code, status, title = "too_many_sockets", 429, "Too many sockets"
    detail = "This user has as many sockets open as the server allows; close one first."


class UnknownCommand(Error):
    code, status, title = "unknown_command", 400, "Unknown command"
    detail = "There is no command of this type; docs/protocol.md lists them."


# What is not there, or stands in the way.


class NotFound(Error):
    code, status, title = "not_found", 404, "Not found"
    detail = "There is nothing here, or nothing that you may see."


class NoSuchChat(NotFound):
    detail = "There is no such chat, or you are not in it."


class NoSuchMessage(NotFound):
    detail = "There is no such message in this chat, or you may not see it."


class NoSuchMedia(NotFound):
    detail = "There is no such file, or you may not see it."


class UsernameTaken(Error):
    code, status, title = "username_taken", 409, "User name taken"
    detail = "Somebody else has this user name."


class TooManyTokens(Error):
    code, status, title = "too_many_tokens", 409, "Too many tokens"
    detail = "This account has as many API tokens as one can have; revoke one first."


class TooManyBots(Error):
    code, status, title = "too_many_bots", 409, "Too many bots"
    detail = "You have as many bots as one can have; delete one first."


class TooManyWebhooks(Error):
    code, status, title = "too_many_webhooks", 409, "Too many webhooks"
    detail = "There are as many webhooks here as there can be; delete one first."


class WordTaken(Error):
    code, status, title = "word_taken", 409, "Command taken"
    detail = "The chat has a command with this word already."


class CommandFailed(Error):
    code, status, title = "command_failed", 502, "The command failed"
    detail = "The program behind this command could not be asked."


class TooManyPosts(Error):
    code, status, title = "too_many_posts", 429, "Too many messages"
    detail = "This comes more often than the server allows; wait a little."


class EmailTaken(Error):
    code, status, title = "email_taken", 409, "E-mail taken"
    detail = "There is an account with this e-mail address already."


class AlreadyMember(Error):
    code, status, title = "already_member", 409, "Already a member"
    detail = "This user is in the chat already."


class DirectChatFixed(Error):
    code, status, title = "direct_chat_fixed", 409, "A direct chat stays as it is"
    detail = "A direct chat has its two people, without roles; create a group for more."


class OwnerNeeded(Error):
    code, status, title = "owner_needed", 409, "A chat needs an owner"
    detail = "Make somebody else the owner first."


class ChatFull(Error):
    code, status, title = "chat_full", 409, "The chat is full"
    detail = "The chat has as many members as this server allows."


class ClientIdConflict(Error):
    code, status, title = "client_id_conflict", 409, "Another message has this client_id"
    detail = "You have sent a different message to this chat under the same client_id."


class MessageDeleted(Error):
    code, status, title = "message_deleted", 409, "The message was deleted"
    detail = "A deleted message cannot be changed."


class TooManyReactions(Error):
    code, status, title = "too_many_reactions", 409, "Too many reactions"
    detail = "The message has as many different reactions as one can have."


class TooManyPins(Error):
    code, status, title = "too_many_pins", 409, "Too many pins"
    detail = "The chat has as many pinned messages as one can have; unpin one first."


# Files.


class QuotaExceeded(Error):
    code, status, title = "quota_exceeded", 413, "Quota exceeded"
    detail = "With this file you would keep more on this server than it allows; delete something first."


class TypeNotAllowed(Error):
    code, status, title = "type_not_allowed", 415, "Type not allowed"
    detail = "This server does not take files of this type."


class UnreadableFile(Error):
    code, status, title = "unreadable_file", 422, "File cannot be read"
    detail = "The file is damaged, or is not what it claims to be."


class UnsupportedBody(Error):
    code, status, title = "unsupported_body", 415, "Unsupported kind of body"
    detail = "A part of an upload comes as application/offset+octet-stream."


class WrongProtocol(Error):
    code, status, title = "wrong_protocol", 412, "Another version of tus"
    detail = "Uploads here speak tus 1.0.0; say so with the header Tus-Resumable."


class OffsetConflict(Error):
    code, status, title = "offset_conflict", 409, "Upload goes on elsewhere"
    detail = "The upload does not go on at this offset; ask for the present one first."


class UploadUnfinished(Error):
    code, status, title = "upload_unfinished", 409, "Upload not finished"
    detail = "This file has not arrived completely yet."


class MediaInUse(Error):
    code, status, title = "media_in_use", 409, "File is in use"
    detail = "A message has this file; delete the message to delete it."


class ChecksumMismatch(Error):
    code, status, title = "checksum_mismatch", 460, "Checksum mismatch"
    detail = "What arrived is not what the checksum is of; send it again."


class StorageFull(Error):
    code, status, title = "storage_full", 507, "Storage is full"
    detail = "The server has no room for this file; nothing of it was kept."


# What may work in a moment.


class Unavailable(Error):
    code, status, title = "unavailable", 503, "Not available right now"
    detail = "The database cannot be reached; the server tries again by itself."

    def __init__(self, detail: str | None = None, *, retry_after: int = 2) -> None:
        super().__init__(detail, retry_after=retry_after)


class Busy(Unavailable):
    code, title = "busy", "Busy, try again"
    detail = "More is waiting than the server takes at once; try again in a moment."


class StorageAway(Unavailable):
    code, title = "storage_away", "Storage not available"
    detail = "The storage of files cannot be reached right now; try again in a moment."


class ShuttingDown(Unavailable):
    code, title = "shutting_down", "Shutting down"
    detail = "The server is stopping; what was acknowledged is stored."


def all_errors() -> list[type[Error]]:
    """Every error with a code of its own, in the order of this page."""
    found: list[type[Error]] = []

    def walk(kind: type[Error]) -> None:
        for child in kind.__subclasses__():
            if child not in found and "code" in vars(child):
                found.append(child)
                walk(child)

    walk(Error)
    return found
