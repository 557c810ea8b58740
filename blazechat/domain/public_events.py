"""The events of chats as they are told: one shape for sockets, HTTP and webhooks."""

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
    chat_id: int
    version: int


class MessageCreatedEvent(PublicEvent, tag="message.created"):
    """A new message."""

    message: Message


class MessageUpdatedEvent(PublicEvent, tag="message.updated"):
    """A message as it is now: edited, reacted to, pinned."""

    message: Message


class MessageDeletedEvent(PublicEvent, tag="message.deleted"):
    """A message has gone; its marker."""

    message: Message


class ChatCreatedEvent(PublicEvent, tag="chat.created"):
    """A chat that is new to you: made, or you were added."""

    chat: MyChat


class ChatUpdatedEvent(PublicEvent, tag="chat.updated"):
    """Its name or settings; `users` is there where it is not known what else changed."""

    chat: ChatInfo | Chat


class ChatDeletedEvent(PublicEvent, tag="chat.deleted"):
    """The chat is gone."""


class MemberAddedEvent(PublicEvent, tag="member.added"):
    """Others have joined."""

    members: list[Member]


class MemberRemovedEvent(PublicEvent, tag="member.removed"):
    """Somebody has left or was removed; if it is you, the chat is gone for you."""

    user_id: int


class MemberUpdatedEvent(PublicEvent, tag="member.updated"):
    """They have other roles."""

    members: list[Member]


class HiddenEvent(PublicEvent, tag="hidden"):
    """Something changed that you may not see; only the version counts."""


EVENTS: tuple[type[PublicEvent], ...] = (
    MessageCreatedEvent,
    MessageUpdatedEvent,
    MessageDeletedEvent,
    ChatCreatedEvent,
    ChatUpdatedEvent,
    ChatDeletedEvent,
    MemberAddedEvent,
    MemberRemovedEvent,
    MemberUpdatedEvent,
    HiddenEvent,
)


def public_form(event: ChatEvent) -> PublicEvent:
    """An event as it is told to those who were in the chat before."""
    return _AS[type(event)](event)


def is_hidden_from(event: ChatEvent, visible_after: int) -> bool:
    """Whether somebody who may read from behind a message only may not see this."""
    return (
        isinstance(event, (MessageCreated, MessageUpdated, MessageDeleted))
        and event.message.id <= visible_after
    )


_AS: dict[type[ChatEvent], Callable[[Any], PublicEvent]] = {
    MessageCreated: lambda e: MessageCreatedEvent(e.chat_id, e.version, e.message),
    MessageUpdated: lambda e: MessageUpdatedEvent(e.chat_id, e.version, e.message),
    MessageDeleted: lambda e: MessageDeletedEvent(e.chat_id, e.version, e.message),
    ChatUpdated: lambda e: ChatUpdatedEvent(e.chat_id, e.version, e.chat),
    ChatRefreshed: lambda e: ChatUpdatedEvent(e.chat_id, e.version, e.chat),
    ChatDeleted: lambda e: ChatDeletedEvent(e.chat_id, e.version),
    ChatCreated: lambda e: HiddenEvent(e.chat_id, e.version),  # nobody was in it before
    MembersAdded: lambda e: MemberAddedEvent(e.chat_id, e.version, e.members),
    MemberRemoved: lambda e: MemberRemovedEvent(e.chat_id, e.version, e.user_id),
    MembersUpdated: lambda e: MemberUpdatedEvent(e.chat_id, e.version, e.members),
}
