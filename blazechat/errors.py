"""The error tree: each error has a stable code, an HTTP status and a sentence for a person.

Every mistake of a client and every failure that a client has to handle is one of these classes. HTTP
returns them as RFC 9457 problems (`api/problems.py`). Sockets send them as `{error, code}` frames or as
close codes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

MAX_FIELDS_IN_DETAIL = 5
"""Invalid fields that the sentence of an error names; `errors` has more."""


@dataclass(frozen=True)
class FieldError:
    """An invalid field of the input, and what is wrong with it."""

    field: str
    detail: str

    @property
    def sentence(self) -> str:
        """The detail, with the field's name if it would be unclear without it."""
        is_unclear = self.field and self.detail.startswith("This ")
        return f"{self.field}: {self.detail}" if is_unclear else self.detail


class Error(Exception):
    """Base of all errors that clients receive. `detail` is a sentence for a person that says what to do."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal server error"
    detail: str = "The server failed to handle this, and logged the error. Report it to the operator."

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
        """Seconds after which a retry can succeed."""
        super().__init__(self.detail)


class InternalError(Error):
    pass


# Malformed requests


class BadRequest(Error):
    code, status, title = "bad_request", 400, "Bad request"
    detail = "The request is malformed. Check it against the API documentation at /docs."


class InvalidInput(Error):
    code, status, title = "invalid_input", 422, "Invalid input"
    detail = "The request has invalid values. Correct them and send it again."

    @classmethod
    def of(cls, field: str, detail: str) -> "InvalidInput":
        return cls(detail, fields=(FieldError(field, detail),))

    @classmethod
    def of_all(cls, errors: Iterable[FieldError]) -> "InvalidInput":
        """Return one error for all these fields. Its `detail` has the sentences of the first ones."""
        fields = tuple(errors)
        return cls(" ".join(each.sentence for each in fields[:MAX_FIELDS_IN_DETAIL]), fields=fields)


class ContentTooLarge(Error):
    code, status, title = "content_too_large", 413, "Content too large"
    detail = "The request's body exceeds this server's limit. Send a smaller one."


class RequestTimeout(Error):
    code, status, title = "request_timeout", 408, "Request timeout"
    detail = "The request's body did not arrive in time. Send the request again."


class MethodNotAllowed(Error):
    code, status, title = "method_not_allowed", 405, "Method not allowed"
    detail = "This path does not support this method. Use one of the methods in the `Allow` header."


# Authentication, permissions and rate limits


class Unauthenticated(Error):
    code, status, title = "unauthenticated", 401, "Log in first"
    detail = "This request needs a valid access token. Log in to get one."


class SessionEnded(Unauthenticated):
    """The session was revoked or has expired. It has the code of `Unauthenticated`."""

    detail = "This session has ended. Log in again."


class TokenExpired(Unauthenticated):
    code = "token_expired"
    detail = "The access token has expired. Refresh it or log in again."


class WrongCredentials(Error):
    code, status, title = "wrong_credentials", 401, "Wrong user name or password"
    detail = "The user name or password is wrong. Try again."


class RefreshTokenInvalid(Error):
    code, status, title = "refresh_token_invalid", 401, "Invalid refresh token"
    detail = "This refresh token is unknown, expired or already used. Log in again."


class WrongPassword(Error):
    code, status, title = "wrong_password", 403, "Wrong password"
    detail = "The current password is wrong, and nothing was changed. Check it and try again."


class Forbidden(Error):
    code, status, title = "forbidden", 403, "Not allowed"
    detail = "You do not have permission to do this."


class InsufficientScope(Error):
    code, status, title = "insufficient_scope", 403, "Insufficient scope"
    detail = "This token does not permit this request. Use a token with a wider scope."


class RegistrationClosed(Error):
    code, status, title = "registration_closed", 403, "Registration is closed"
    detail = "This server accepts no new accounts. Ask its operator for one."


class InvitationInvalid(Error):
    code, status, title = "invitation_invalid", 403, "Invitation needed"
    detail = "Registration needs a valid, unused invitation. Ask an administrator for one."


class OriginNotAllowed(Error):
    code, status, title = "origin_not_allowed", 403, "Origin not allowed"
    detail = "Pages of this origin may not open sockets. Add it to BLAZECHAT_ALLOWED_ORIGINS."


class TooManyAttempts(Error):
    code, status, title = "too_many_attempts", 429, "Too many attempts"
    detail = "Too many failed attempts to log in. Wait before you try again."


class TicketInvalid(Error):
    code, status, title = "ticket_invalid", 401, "Invalid ticket"
    detail = "This ticket is unknown, expired or already used. Request a new one."


class TooManyCommands(Error):
    code, status, title = "too_many_commands", 429, "Too many commands"
    detail = "This socket exceeds its rate limit. Send more slowly, or the server closes it."


class TooManySockets(Error):
    code, status, title = "too_many_sockets", 429, "Too many sockets"
    detail = "This user has the maximum number of open sockets. Close one first."


class UnknownCommand(Error):
    code, status, title = "unknown_command", 400, "Unknown command"
    detail = "There is no command of this type. docs/protocol.md lists the commands."


# Missing resources and conflicts


class NotFound(Error):
    code, status, title = "not_found", 404, "Not found"
    detail = "There is no such resource, or you have no access to it."


class NoSuchChat(NotFound):
    detail = "There is no such chat, or you are not a member of it."


class NoSuchMessage(NotFound):
    detail = "There is no such message in this chat, or you have no access to it."


class NoSuchMedia(NotFound):
    detail = "There is no such file, or you have no access to it."


class UsernameTaken(Error):
    code, status, title = "username_taken", 409, "User name taken"
    detail = "Another user has this user name. Choose a different one."


class TooManyTokens(Error):
    code, status, title = "too_many_tokens", 409, "Too many tokens"
    detail = "This account has the maximum number of API tokens. Revoke one first."


class TooManyBots(Error):
    code, status, title = "too_many_bots", 409, "Too many bots"
    detail = "You have the maximum number of bots. Delete one first."


class TooManyWebhooks(Error):
    code, status, title = "too_many_webhooks", 409, "Too many webhooks"
    detail = "The maximum number of webhooks is reached. Delete one first."


class WordTaken(Error):
    code, status, title = "word_taken", 409, "Command taken"
    detail = "This chat already has a command with this word. Choose a different one."


class TemplateFailed(Error):
    code, status, title = "template_failed", 422, "Template failed"
    detail = "The template of this incoming webhook cannot display this payload. Correct the template."


class CommandFailed(Error):
    code, status, title = "command_failed", 502, "The command failed"
    detail = "The command's program is unreachable. Try again later, or ask an admin to check its URL."


class TooManyPosts(Error):
    code, status, title = "too_many_posts", 429, "Too many messages"
    detail = "This exceeds the server's rate limit. Wait before you send more."


class EmailTaken(Error):
    code, status, title = "email_taken", 409, "E-mail address taken"
    detail = "Another account has this e-mail address. Log in to it, or use a different address."


class AlreadyMember(Error):
    code, status, title = "already_member", 409, "Already a member"
    detail = "This user is already a member of the chat."


class DirectChatFixed(Error):
    code, status, title = "direct_chat_fixed", 409, "Not possible in a direct chat"
    detail = "A direct chat always has the same two members, without roles. Create a group instead."


class OwnerNeeded(Error):
    code, status, title = "owner_needed", 409, "A chat needs an owner"
    detail = "Make another member the owner first."


class ChatFull(Error):
    code, status, title = "chat_full", 409, "The chat is full"
    detail = "The chat has the maximum number of members. Remove one first, or create another chat."


class ClientIdConflict(Error):
    code, status, title = "client_id_conflict", 409, "client_id already used"
    detail = "You have sent a different message to this chat with this client_id. Use a new client_id."


class MessageAlreadyDeleted(Error):
    code, status, title = "message_deleted", 409, "Message deleted"
    detail = "This message was deleted and cannot be changed. Send a new one."


class TooManyReactions(Error):
    code, status, title = "too_many_reactions", 409, "Too many reactions"
    detail = "The message has the maximum number of different reactions. Use one that it already has."


class TooManyPins(Error):
    code, status, title = "too_many_pins", 409, "Too many pins"
    detail = "The chat has the maximum number of pinned messages. Unpin one first."


# Files


class QuotaExceeded(Error):
    code, status, title = "quota_exceeded", 413, "Quota exceeded"
    detail = "This file would exceed your storage quota. Delete other files first."


class TypeNotAllowed(Error):
    code, status, title = "type_not_allowed", 415, "File type not allowed"
    detail = "This server does not accept files of this type. Convert the file to an accepted type."


class UnreadableFile(Error):
    code, status, title = "unreadable_file", 422, "Unreadable file"
    detail = "The file is damaged or not of the type that it claims. Check it and upload it again."


class UnsupportedBody(Error):
    code, status, title = "unsupported_body", 415, "Unsupported body type"
    detail = "A part of an upload must have the media type application/offset+octet-stream."


class WrongProtocol(Error):
    code, status, title = "wrong_protocol", 412, "Unsupported version of tus"
    detail = "This server speaks tus 1.0.0. Send the header `Tus-Resumable: 1.0.0`."


class OffsetConflict(Error):
    code, status, title = "offset_conflict", 409, "Wrong upload offset"
    detail = "The upload does not continue at this offset. Request the current offset with HEAD first."


class UploadUnfinished(Error):
    code, status, title = "upload_unfinished", 409, "Upload not finished"
    detail = "This file is not uploaded completely. Finish the upload first."


class MediaInUse(Error):
    code, status, title = "media_in_use", 409, "File in use"
    detail = "A message contains this file. Delete the message first."


class ChecksumMismatch(Error):
    code, status, title = "checksum_mismatch", 460, "Checksum mismatch"
    detail = "The received bytes do not match the checksum. Send them again."


class StorageFull(Error):
    code, status, title = "storage_full", 507, "Storage full"
    detail = "The server's storage is full; the file was not stored. Ask the operator to free space."


# Temporary failures


class Unavailable(Error):
    code, status, title = "unavailable", 503, "Temporarily unavailable"
    detail = "The server cannot reach its database and keeps trying. Try again in a moment."

    def __init__(self, detail: str | None = None, *, retry_after: int = 2) -> None:
        super().__init__(detail, retry_after=retry_after)


class Busy(Unavailable):
    code, title = "busy", "Server busy"
    detail = "The server has too many requests in its queue. Try again in a moment."


class StorageAway(Unavailable):
    code, title = "storage_away", "Storage unavailable"
    detail = "The server cannot reach its file storage. Try again in a moment."


class ShuttingDown(Unavailable):
    code, title = "shutting_down", "Shutting down"
    detail = "The server is shutting down. Acknowledged messages are stored; send others again in a moment."


def all_errors() -> list[type[Error]]:
    """Return every error that defines its own code: subclasses directly after their base."""
    found: list[type[Error]] = []

    def collect(base: type[Error]) -> None:
        for error_type in base.__subclasses__():
            if error_type not in found and "code" in vars(error_type):
                found.append(error_type)
                collect(error_type)

    collect(Error)
    return found
