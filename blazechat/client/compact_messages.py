"""Compact messages: fills in the fields that events of `/ws` leave out of messages (docs/protocol.md)."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from blazechat.client import events
from blazechat.client.schemas import Attachment, Author, Message, Reaction


class CompactAuthor(Struct, frozen=True):
    """An author without `display_name` has the username as the display name."""

    id: int
    username: str
    display_name: str | None = None
    icon_url: str | None = None

    def complete(self) -> Author:
        name = self.username if self.display_name is None else self.display_name
        return Author(self.id, self.username, name, self.icon_url)


class CompactMessage(Struct, frozen=True):
    """A message without `updated_at` was not updated after `created_at`."""

    id: int
    user: CompactAuthor
    content: str
    client_id: str
    created_at: datetime
    updated_at: datetime | None = None
    reply_to: int | None = None
    is_read: bool = False
    edited_at: datetime | None = None
    deleted_at: datetime | None = None
    pinned_at: datetime | None = None
    reactions: list[Reaction] = []
    attachments: list[Attachment] = []

    def complete(self, chat_id: int, version: int) -> Message:
        """Return the message as HTTP returns it. `chat_id` and `version` are those of its event."""
        return Message(
            self.id,
            chat_id,
            self.user.id,
            self.user.complete(),
            self.content,
            self.client_id,
            self.reply_to,
            version,
            self.is_read,
            self.created_at,
            self.updated_at or self.created_at,
            self.edited_at,
            self.deleted_at,
            self.pinned_at,
            self.reactions,
            self.attachments,
        )


class MessageFrame(Struct, frozen=True):
    """An event of a message, as it arrives on the live connection."""

    chat_id: int
    version: int
    message: CompactMessage

    def complete(self) -> events.MessageEvent:
        """Return the event with the complete message."""
        message = self.message.complete(self.chat_id, self.version)
        return _EVENTS[type(self)](self.chat_id, self.version, message)


class MessageCreatedFrame(MessageFrame, tag="message.created", frozen=True):
    """See events.MessageCreated."""


class MessageUpdatedFrame(MessageFrame, tag="message.updated", frozen=True):
    """See events.MessageUpdated."""


class MessageDeletedFrame(MessageFrame, tag="message.deleted", frozen=True):
    """See events.MessageDeleted."""


_EVENTS: dict[type[MessageFrame], type[events.MessageEvent]] = {
    MessageCreatedFrame: events.MessageCreated,
    MessageUpdatedFrame: events.MessageUpdated,
    MessageDeletedFrame: events.MessageDeleted,
}


def complete_json(frame: dict[str, Any]) -> dict[str, Any]:
    """Return a frame, as decoded from JSON, with a complete message, if it has one."""
    if "message" not in frame:
        return frame
    message = frame["message"]
    user = {"display_name": message["user"]["username"], **message["user"]}
    repeated = {
        "chat_id": frame["chat_id"],
        "version": frame["version"],
        "user_id": user["id"],
        "updated_at": message["created_at"],
    }
    return frame | {"message": _DEFAULTS | repeated | message | {"user": user}}


_DEFAULTS: dict[str, Any] = {
    field.name: field.default if field.default_factory is msgspec.NODEFAULT else []
    for field in msgspec.structs.fields(CompactMessage)
    if not field.required and field.name != "updated_at"
}
