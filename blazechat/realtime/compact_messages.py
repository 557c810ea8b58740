"""Compact messages: the form of a message in the events of `/ws`, without what a client can fill in.

Fields at their default are left out, and so is what the event or another field repeats. docs/protocol.md
has the rule for clients; client/compact_messages.py applies it. HTTP and webhooks have complete messages.
"""

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from blazechat.domain.events import MessageCreated, MessageDeleted, MessageUpdated
from blazechat.domain.public_events import PublicEvent
from blazechat.domain.schemas.files import Attachment
from blazechat.domain.schemas.messages import Message, OverriddenAuthor, Reaction
from blazechat.domain.schemas.users import Author


class CompactAuthor(Struct, omit_defaults=True, gc=False):
    """The author of a message. `display_name` is absent if it is the username.

    `icon_url` is present, and perhaps null, if the message overrides its author.
    """

    id: int
    username: str
    display_name: str | UnsetType = UNSET
    icon_url: str | UnsetType | None = UNSET


class CompactMessage(Struct, omit_defaults=True, gc=False):
    """A message in an event. `updated_at` is absent if it equals `created_at`.

    `chat_id` and `version` are those of the event, and `user_id` is `user.id`.
    """

    id: int
    user: CompactAuthor
    content: str
    client_id: str
    created_at: datetime
    updated_at: datetime | UnsetType = UNSET
    reply_to: int | None = None
    is_read: bool = False
    edited_at: datetime | None = None
    deleted_at: datetime | None = None
    pinned_at: datetime | None = None
    reactions: list[Reaction] = []
    attachments: list[Attachment] = []


class MessageCreatedFrame(PublicEvent, tag="message.created", gc=False):
    """A new message."""

    message: CompactMessage


class MessageUpdatedFrame(PublicEvent, tag="message.updated", gc=False):
    """A message was edited, reacted to, pinned or unpinned. `message` is its new state."""

    message: CompactMessage


class MessageDeletedFrame(PublicEvent, tag="message.deleted", gc=False):
    """A message was deleted. `message` is its tombstone, without content."""

    message: CompactMessage


MessageFrame = MessageCreatedFrame | MessageUpdatedFrame | MessageDeletedFrame
FRAME_TYPES = (MessageCreatedFrame, MessageUpdatedFrame, MessageDeletedFrame)


def compact_form(event: MessageCreated | MessageUpdated | MessageDeleted) -> MessageFrame:
    """Return an event of a message as members receive it on `/ws`."""
    message = compact_message(event.message)
    if isinstance(event, MessageCreated):
        return MessageCreatedFrame(event.chat_id, event.version, message)
    if isinstance(event, MessageUpdated):
        return MessageUpdatedFrame(event.chat_id, event.version, message)
    return MessageDeletedFrame(event.chat_id, event.version, message)


def compact_message(message: Message) -> CompactMessage:
    created_at, updated_at = message.created_at, message.updated_at
    return CompactMessage(
        message.id,
        compact_author(message.user),
        message.content,
        message.client_id,
        created_at,
        UNSET if updated_at == created_at else updated_at,
        message.reply_to,
        message.is_read,
        message.edited_at,
        message.deleted_at,
        message.pinned_at,
        message.reactions,
        message.attachments,
    )


def compact_author(author: Author) -> CompactAuthor:
    username, name = author.username, author.display_name
    icon_url = author.icon_url if isinstance(author, OverriddenAuthor) else UNSET
    return CompactAuthor(author.id, username, UNSET if name == username else name, icon_url)
