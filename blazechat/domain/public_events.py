"""The public form of chat events, over HTTP and in webhooks.

Sockets send the same, but events of messages in a compact form (realtime/compact_messages.py).
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from blazechat.domain.events import (
    ChatCreated,
    ChatDeleted,
    ChatEvent,
    ChatRefreshed,
    ChatUpdated,
    MemberRemoved,
    MembersAdded,
    MembersUpdated,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
)
from blazechat.domain.schemas.chats import Chat, ChatInfo, MyChat
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Member


class PublicEvent(Struct):
    """A change of a chat. `version` is the chat's version after it."""

    chat_id: int
    version: int


class MessageCreatedEvent(PublicEvent, tag="message.created"):
    """A new message."""

    message: Message


class MessageUpdatedEvent(PublicEvent, tag="message.updated"):
    """A message was edited, reacted to, pinned or unpinned. `message` is its new state."""

    message: Message


class MessageDeletedEvent(PublicEvent, tag="message.deleted"):
    """A message was deleted. `message` is its tombstone, without content."""

    message: Message


class ChatCreatedEvent(PublicEvent, tag="chat.created"):
    """A chat is new to you: it was created with you, or you were added."""

    chat: MyChat


class ChatUpdatedEvent(PublicEvent, tag="chat.updated"):
    """The chat's name or settings changed. With `users`, its members might have changed as well."""

    chat: ChatInfo | Chat


class ChatDeletedEvent(PublicEvent, tag="chat.deleted"):
    """The chat was deleted."""


class MemberAddedEvent(PublicEvent, tag="member.added"):
    """Others became members."""

    members: list[Member]


class MemberRemovedEvent(PublicEvent, tag="member.removed"):
    """A member left or was removed. If it is you, you have no access to the chat any more."""

    user_id: int


class MemberUpdatedEvent(PublicEvent, tag="member.updated"):
    """Members have new roles."""

    members: list[Member]


class HiddenEvent(PublicEvent, tag="hidden"):
    """A change that you cannot see. Only its version matters."""


CHAT_EVENT_TYPES: tuple[type[PublicEvent], ...] = (
    ChatCreatedEvent,
    ChatUpdatedEvent,
    ChatDeletedEvent,
    MemberAddedEvent,
    MemberRemovedEvent,
    MemberUpdatedEvent,
    HiddenEvent,
)
"""All types but those of events of messages."""


def public_form(event: ChatEvent) -> PublicEvent:
    """Return the event as members receive it who were in the chat before it."""
    return _PUBLIC_FORMS[type(event)](event)


def is_hidden_from(event: ChatEvent, visible_after: int) -> bool:
    """True if this member cannot see the event's message (`id <= visible_after`)."""
    return (
        isinstance(event, (MessageCreated, MessageUpdated, MessageDeleted))
        and event.message.id <= visible_after
    )


_PUBLIC_FORMS: dict[type[ChatEvent], Callable[[Any], PublicEvent]] = {
    MessageCreated: lambda event: MessageCreatedEvent(event.chat_id, event.version, event.message),
    MessageUpdated: lambda event: MessageUpdatedEvent(event.chat_id, event.version, event.message),
    MessageDeleted: lambda event: MessageDeletedEvent(event.chat_id, event.version, event.message),
    ChatUpdated: lambda event: ChatUpdatedEvent(event.chat_id, event.version, event.chat),
    ChatRefreshed: lambda event: ChatUpdatedEvent(event.chat_id, event.version, event.chat),
    ChatDeleted: lambda event: ChatDeletedEvent(event.chat_id, event.version),
    ChatCreated: lambda event: HiddenEvent(event.chat_id, event.version),  # it had no members before
    MembersAdded: lambda event: MemberAddedEvent(event.chat_id, event.version, event.members),
    MemberRemoved: lambda event: MemberRemovedEvent(event.chat_id, event.version, event.user_id),
    MembersUpdated: lambda event: MemberUpdatedEvent(event.chat_id, event.version, event.members),
}
