"""The outbox: messages to send, in order, each stored once. With a file, it survives the program.

Every message has a `client_id`, its idempotency key: however often the client sends it, the server stores
it once.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from blazechat.client.errors import BlazeChatError, MessageDiscarded, invalid_unicode
from blazechat.client.journal import Journal, JournalEntry
from blazechat.client.schemas import Message


class SendState(StrEnum):
    """The state of a message in the outbox."""

    WAITING = "waiting"
    """Sent as soon as there is a connection."""
    SENDING = "sending"
    """Sent, and not acknowledged yet."""
    SENT = "sent"
    """Acknowledged: the server has stored it. `message_id` is its id."""
    FAILED = "failed"
    """Rejected by the server; `error` says why. It can be retried or discarded."""


class PendingMessage(Struct, eq=False):
    """A message in the outbox. `await message.wait_sent()` waits until it is stored."""

    client_id: str
    chat_id: int
    content: str
    reply_to: int | None = None
    attachments: tuple[int, ...] = ()
    author_id: int = 0
    state: SendState = SendState.WAITING
    message_id: int | None = None
    error: BlazeChatError | None = None
    was_attempted: bool = False  # if True, the server may have stored it, whatever the state
    queued_at: float = 0.0  # in Unix seconds, of this machine's clock; 0 if it is not known
    _result: asyncio.Future[int] | None = None

    @property
    def is_sent(self) -> bool:
        return self.state is SendState.SENT

    async def wait_sent(self) -> int:
        """Wait until the message is stored, and return its id.

        Raises the server's error if it rejects the message, MessageDiscarded, or what ended the client.
        """
        if self.state is SendState.SENT:
            assert self.message_id is not None
            return self.message_id
        if self.state is SendState.FAILED:
            assert self.error is not None
            raise self.error
        if self._result is None:
            self._result = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._result)

    def set_result(self, result: int | BlazeChatError) -> None:
        """Record the id of the stored message, or why it failed."""
        if isinstance(result, int):
            self.state, self.message_id, self.error = SendState.SENT, result, None
            if self._result is not None and not self._result.done():
                self._result.set_result(result)
            self._result = None
        else:
            self.state, self.error = SendState.FAILED, result
            self.fail_waiters(result)

    def fail_waiters(self, error: BlazeChatError) -> None:
        """Raise an error in `wait_sent()`. The state of the message stays."""
        if self._result is not None and not self._result.done():
            self._result.set_exception(error)
            self._result.exception()  # marks it as retrieved, so that asyncio does not log it
        self._result = None


class Outbox:
    """The messages of one author at a time. Other authors' messages are kept and not sent.

    `on_change` is called with each message whose state changed. Without `path`, messages are lost with the
    process.
    """

    def __init__(self, on_change: Callable[[PendingMessage], None], path: Path | None = None) -> None:
        self.author_id = 0
        self._messages: dict[str, PendingMessage] = {}  # in the order of sending
        self._unconfirmed: dict[str, PendingMessage] = {}  # stored, but not in the client's state yet
        self._on_change = on_change
        self._journal = Journal(path) if path is not None else None
        for entry in self._journal.read() if self._journal is not None else []:
            self._messages[entry.client_id] = _from_entry(entry)

    def set_author(self, author_id: int) -> None:
        """Set the author, also of messages that were enqueued before a login."""
        self.author_id = author_id
        for message in self._messages.values():
            if not message.author_id:
                message.author_id = author_id
                self._write_entry(message)

    def enqueue(
        self, chat_id: int, content: str, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> PendingMessage:
        """Add a message. Raises InvalidInput if the content is not valid Unicode."""
        if not content.isascii():
            try:
                content.encode()
            except UnicodeEncodeError:
                raise invalid_unicode() from None
        client_id = uuid.uuid4().hex
        message = PendingMessage(
            client_id,
            chat_id,
            content,
            reply_to,
            tuple(attachments),
            self.author_id,
            queued_at=time.time(),
        )
        self._messages[client_id] = message
        self._write_entry(message)
        self._on_change(message)
        return message

    def messages(self) -> list[PendingMessage]:
        """Return the author's messages in order: unsent, failed, and stored but not in the state yet."""
        return [message for message in self._messages.values() if message.author_id == self.author_id]

    def for_chat(self, chat_id: int) -> list[PendingMessage]:
        """Return the same for one chat."""
        return [message for message in self.messages() if message.chat_id == chat_id]

    def unsent_by_chat(self) -> dict[int, list[PendingMessage]]:
        """Return the messages to send, by chat, in order."""
        unsent: dict[int, list[PendingMessage]] = {}
        for message in self.messages():
            if message.state in (SendState.WAITING, SendState.SENDING):
                unsent.setdefault(message.chat_id, []).append(message)
        return unsent

    def next_for(self, chat_id: int) -> PendingMessage | None:
        """Return the next message to send in a chat."""
        for message in self._messages.values():
            is_unsent = message.state in (SendState.WAITING, SendState.SENDING)
            if message.chat_id == chat_id and is_unsent and message.author_id == self.author_id:
                return message
        return None

    def mark_sending(self, message: PendingMessage) -> None:
        message.state = SendState.SENDING
        if not message.was_attempted:
            message.was_attempted = True
            self._write_entry(message)
        self._on_change(message)

    def mark_waiting(self, message: PendingMessage) -> None:
        """Return a message that was sent without an acknowledgement to the queue."""
        if message.state is SendState.SENDING:
            message.state = SendState.WAITING
            self._on_change(message)

    def mark_sent(self, message: PendingMessage, message_id: int) -> None:
        """The server has acknowledged the message. It stays here until the client's state has it."""
        if message.state is not SendState.SENT:
            message.set_result(message_id)
            if message.client_id in self._messages:
                self._unconfirmed[message.client_id] = message
            self._write_entry(message, is_removed=True)
            self._on_change(message)

    def mark_failed(self, message: PendingMessage, error: BlazeChatError) -> None:
        """The server has rejected the message."""
        message.set_result(error)
        self._write_entry(message)
        self._on_change(message)

    def confirm(self, stored: Message) -> None:
        """An event with this account's own message arrived: it is stored, acknowledged or not."""
        message = self._messages.get(stored.client_id)
        if message is not None and message.chat_id == stored.chat_id:
            self.mark_sent(message, stored.id)
            self._remove(message)

    def confirm_up_to(self, chat_id: int, newest_id: int | None) -> None:
        """Remove a chat's stored messages up to the newest one in the state, or all if the chat is gone."""
        for message in list(self._unconfirmed.values()):
            is_in_state = newest_id is None or (message.message_id or 0) <= newest_id
            if message.chat_id == chat_id and is_in_state:
                self._remove(message)

    def retry(self, message: PendingMessage) -> None:
        """Send a failed message again, after all others."""
        if message.state is not SendState.FAILED:
            return
        if self._messages.pop(message.client_id, None) is not None:
            message.state, message.error, message.was_attempted = SendState.WAITING, None, False
            self._messages[message.client_id] = message
            self._write_entry(message)
            self._on_change(message)

    def discard(self, message: PendingMessage) -> bool:
        """Remove a message that failed or was not sent yet. Returns False if it may be stored already."""
        may_be_stored = message.state is not SendState.FAILED and message.was_attempted
        if may_be_stored or self._messages.pop(message.client_id, None) is None:
            return False
        self._write_entry(message, is_removed=True)
        message.set_result(MessageDiscarded("The message was discarded before it was sent."))
        self._on_change(message)
        return True

    def fail_waiters(self, error: BlazeChatError) -> None:
        """Raise an error in every `wait_sent()`. The messages stay in the outbox."""
        for message in self._messages.values():
            message.fail_waiters(error)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _remove(self, message: PendingMessage) -> None:
        self._messages.pop(message.client_id, None)
        self._unconfirmed.pop(message.client_id, None)

    def _write_entry(self, message: PendingMessage, *, is_removed: bool = False) -> None:
        if self._journal is None:
            return
        if is_removed:
            self._journal.write(JournalEntry(message.client_id, is_removed=True))
            return
        self._journal.write(
            JournalEntry(
                message.client_id,
                message.author_id,
                message.chat_id,
                message.content,
                message.reply_to,
                message.attachments,
                message.was_attempted,
                str(message.error) if message.state is SendState.FAILED else None,
                queued_at=message.queued_at,
            )
        )


def _from_entry(entry: JournalEntry) -> PendingMessage:
    message = PendingMessage(
        entry.client_id,
        entry.chat_id,
        entry.content,
        entry.reply_to,
        entry.attachments,
        entry.author_id,
        was_attempted=entry.was_attempted,
        queued_at=entry.queued_at,
    )
    if entry.error is not None:
        message.set_result(BlazeChatError(entry.error))
    return message
