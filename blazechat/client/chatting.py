"""What a client does in its chats: sends, opens chats, moves read cursors, types, watches users."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from blazechat.client.catch_up import MAX_IDS
from blazechat.client.chat import ChatState
from blazechat.client.connection_loop import ConnectionLoop
from blazechat.client.errors import ApiError, NotConnected, NotFound, Problem
from blazechat.client.frames import Ack
from blazechat.client.older_pages import PAGE_MESSAGES, OlderPages
from blazechat.client.outbox import Outbox, PendingMessage
from blazechat.client.resources import ChatsResource, MessagesResource
from blazechat.client.state import State
from blazechat.vocabulary import Status

MAX_MEMBER_LOADS = 3
"""How often all members are loaded again because they changed meanwhile."""

log = logging.getLogger("blazechat.client")


class Chatting:
    """The methods of `Client` for its chats. `Client` sets the attributes."""

    state: State
    outbox: Outbox
    chats: ChatsResource
    messages: MessagesResource
    _older_pages: OlderPages
    _connection_loop: ConnectionLoop
    _connection_task: asyncio.Task[None] | None

    async def send(
        self, chat_id: int, content: str, *, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> int:
        """Send a message, and return its id once the server has stored it.

        The id is the message's position in its chat: 1, 2, 3, …. `client.messages.get(chat_id, id)` returns
        the message itself.

        With a live connection, the message waits for it, however long the server is away, and the messages
        of a chat are stored in the order of the calls. Without one (neither `start()`, `connect()` nor
        `events()` was called), it is sent over HTTP, and Unreachable is raised after `retry_seconds`. In
        both cases it is stored once. `attachments` are the ids of uploads; with attachments, the content
        may be empty. Raises the server's error if it rejects the message.
        """
        if self._connection_loop.error is not None:
            raise self._connection_loop.error
        if self._connection_task is None:
            message = await self.messages.send(chat_id, content, reply_to=reply_to, attachments=attachments)
            return message.id
        pending = self.enqueue(chat_id, content, reply_to=reply_to, attachments=attachments)
        return await pending.wait_sent()

    def enqueue(
        self, chat_id: int, content: str, *, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> PendingMessage:
        """Add a message to the outbox, without waiting until it is sent."""
        message = self.outbox.enqueue(chat_id, content, reply_to, attachments)
        self._connection_loop.wake_sender()
        return message

    def retry(self, message: PendingMessage) -> None:
        """Send a message again that the server has rejected."""
        self.outbox.retry(message)
        self._connection_loop.wake_sender()

    async def open_chat(self, chat_id: int, min_messages: int = PAGE_MESSAGES) -> ChatState:
        """Load at least `min_messages` messages of a chat, and subscribe to its typing and read events.

        The subscription survives reconnects. Raises NotFound.
        """
        chat = self._known_chat(chat_id)
        self.state.open_chats.add(chat_id)
        chat.is_open = True
        subscribing = asyncio.create_task(self._command_if_online("subscribe", chat_id=chat_id))
        try:
            while (missing := min_messages - len(chat.messages)) > 0 and not chat.has_all_messages:
                if not await self._older_pages.load(chat_id, min(missing, 100)):
                    break
                chat = self._known_chat(chat_id)  # a reload may have replaced it
            ack = await subscribing
            chat = self._known_chat(chat_id)
            chat.update_read_cursors((ack and ack.cursors) or {})
        finally:
            subscribing.cancel()
        return chat

    async def close_chat(self, chat_id: int) -> None:
        """End the subscription to a chat, and keep only its newest messages."""
        self.state.open_chats.discard(chat_id)
        chat = self.state.chats.get(chat_id)
        if chat is not None:
            chat.is_open = False
            chat.trim()
        await self._command_if_online("unsubscribe", chat_id=chat_id)

    async def load_older(self, chat_id: int, limit: int = PAGE_MESSAGES) -> int:
        """Load up to `limit` older messages, at most 100. Returns their number: 0 at the chat's start."""
        return await self._older_pages.load(chat_id, limit)

    async def load_members(self, chat_id: int) -> ChatState:
        """Load all members of a chat into `state`; at first, it has up to 100 of them. Raises NotFound."""
        chat = self._known_chat(chat_id)
        for _ in range(MAX_MEMBER_LOADS):
            if chat.has_all_members:
                break
            version = chat.members_version
            members = [member async for member in self.chats.members(chat_id)]
            chat = self._known_chat(chat_id)  # a reload may have replaced it
            if chat.add_all_members(members, version):
                break
        return chat

    async def mark_read(self, chat_id: int, up_to: int | None = None) -> None:
        """Move the read cursor to a message, or to the newest. Without a connection, this is sent later."""
        chat = self.state.chats.get(chat_id)
        if chat is None:
            return
        up_to = chat.last_message_id if up_to is None else up_to
        if up_to > max(chat.read_id, self.state.pending_reads.get(chat_id, 0)):
            self.state.pending_reads[chat_id] = up_to
            ack = await self._command_if_online("read", chat_id=chat_id, up_to=up_to)
            if ack is not None:
                self.state.confirm_read(chat_id, up_to, ack.read_id)

    async def set_typing(self, chat_id: int, is_typing: bool = True) -> None:
        """Report that this account types, or has stopped. Repeat it every four seconds while typing."""
        await self._command_if_online("typing", chat_id=chat_id, typing=is_typing)

    async def set_status(self, status: Status) -> None:
        """Set the status that other users see, until this account goes offline. Raises NotConnected."""
        await self._connection_loop.send_command("status", status=status)

    async def watch_users(self, user_ids: Iterable[int]) -> None:
        """Subscribe to the presence and names of users who share a chat with this account.

        The subscription survives reconnects.
        """
        new = sorted(set(user_ids) - self.state.watched_users)
        self.state.watched_users |= set(new)
        for begin in range(0, len(new), MAX_IDS):
            ack = await self._command_if_online("subscribe", users=new[begin : begin + MAX_IDS])
            self.state.update_presence((ack and ack.presence) or [])

    def _known_chat(self, chat_id: int) -> ChatState:
        chat = self.state.chats.get(chat_id)
        if chat is None:
            detail = "There is no such chat, or you are not a member of it."
            raise NotFound(Problem("not_found", detail, 404))
        return chat

    async def _command_if_online(self, kind: str, **fields: object) -> Ack | None:
        """Send a command that every new connection repeats, so that it may fail now."""
        if not self._connection_loop.online.is_set():
            return None
        try:
            return await self._connection_loop.send_command(kind, **fields)
        except (NotConnected, ApiError) as error:
            log.debug("could not send %s: %s", kind, error)
            return None
