"""Messages on their way: kept until the server has stored them, sent in order, each stored once.

Every message has a `client_id` of its own, under which the server stores it once however often it comes.
With a file, what was written survives the end of the process, too.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from blazechat.client.errors import BlazeChatError, MessageDiscarded, invalid_unicode
from blazechat.client.journal import Journal, JournalEntry
from blazechat.client.schemas import Message


class SendState(StrEnum):
    """How far a message of one's own has come."""

    WAITING = "waiting"
    """It is sent as soon as there is a connection."""
    SENDING = "sending"
    SENT = "sent"
    """Stored for good; `message_id` is its id."""
    FAILED = "failed"
    """The server refused it; `error` says why. It can be tried again, or discarded."""


class PendingMessage(Struct, eq=False):
    """A message of one's own. `await draft.sent()` waits until it is stored."""

    client_id: str
    chat_id: int
    content: str
    reply_to: int | None = None
    attachments: tuple[int, ...] = ()
    author_id: int = 0
    state: SendState = SendState.WAITING
    message_id: int | None = None
    error: BlazeChatError | None = None
    was_attempted: bool = False  # so that it may be stored, whatever its condition says
    _result: asyncio.Future[int] | None = None

    @property
    def is_sent(self) -> bool:
        return self.state is SendState.SENT

    async def wait_sent(self) -> int:
        """Its id, once it is stored. Raises the server's error if it is refused, or Discarded."""
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
        """It is stored under this id, or was refused."""
        if isinstance(result, int):
            self.state, self.message_id, self.error = SendState.SENT, result, None
        else:
            self.state, self.error = SendState.FAILED, result
        if self._result is not None and not self._result.done():
            if isinstance(result, int):
                self._result.set_result(result)
            else:
                self._result.set_exception(result)
                self._result.exception()  # whoever waits is told; if nobody does, nothing is logged
        self._result = None

    def fail_waiters(self, error: BlazeChatError) -> None:
        """Nobody is to wait for it any longer, whatever becomes of it."""
        if self._result is not None and not self._result.done():
            self._result.set_exception(error)
            self._result.exception()
        self._result = None


class Outbox:
    """Of one author at a time: what others wrote here stays where it is, and is not sent as theirs.

    `changed` is called with each draft that is in another condition.
    """

    def __init__(self, on_change: Callable[[PendingMessage], None], path: Path | None = None) -> None:
        self.author_id = 0
        self._messages: dict[str, PendingMessage] = {}  # in the order in which they were written
        self._unconfirmed: dict[str, PendingMessage] = {}  # stored, while their messages were not heard of
        self._on_change = on_change
        self._journal = Journal(path) if path is not None else None
        for line in self._journal.read() if self._journal is not None else []:
            self._messages[line.client_id] = _read(line)

    def set_author(self, author_id: int) -> None:
        """From now on it is this user's; so is what was written before anybody was logged in."""
        self.author_id = author_id
        for draft in self._messages.values():
            if not draft.author_id:
                draft.author_id = author_id
                self._write_entry(draft)

    def enqueue(
        self, chat_id: int, content: str, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> PendingMessage:
        """A new message, which waits to be sent. Raises InvalidInput for half a character."""
        if not content.isascii():
            try:
                content.encode()
            except UnicodeEncodeError:
                raise invalid_unicode() from None
        client_id = uuid.uuid4().hex
        draft = PendingMessage(client_id, chat_id, content, reply_to, tuple(attachments), self.author_id)
        self._messages[draft.client_id] = draft
        self._write_entry(draft)
        self._on_change(draft)
        return draft

    def for_chat(self, chat_id: int) -> list[PendingMessage]:
        """What of a chat is on its way, was refused, or is stored and was not heard of yet; in order."""
        return [draft for draft in self.messages() if draft.chat_id == chat_id]

    def messages(self) -> list[PendingMessage]:
        """The same of all chats."""
        return [draft for draft in self._messages.values() if draft.author_id == self.author_id]

    def unsent_by_chat(self) -> dict[int, list[PendingMessage]]:
        """What has to be sent, by chat, each in its order."""
        found: dict[int, list[PendingMessage]] = {}
        for draft in self.messages():
            if draft.state in (SendState.WAITING, SendState.SENDING):
                found.setdefault(draft.chat_id, []).append(draft)
        return found

    def next_for(self, chat_id: int) -> PendingMessage | None:
        """What is to be sent next in a chat."""
        for draft in self._messages.values():
            is_due = draft.state in (SendState.WAITING, SendState.SENDING)
            if draft.chat_id == chat_id and is_due and draft.author_id == self.author_id:
                return draft
        return None

    def mark_sending(self, draft: PendingMessage) -> None:
        draft.state = SendState.SENDING
        if not draft.was_attempted:
            draft.was_attempted = True
            self._write_entry(draft)
        self._on_change(draft)

    def mark_waiting(self, draft: PendingMessage) -> None:
        """It was not answered, and waits to be sent again."""
        if draft.state is SendState.SENDING:
            draft.state = SendState.WAITING
            self._on_change(draft)

    def mark_sent(self, draft: PendingMessage, message_id: int) -> None:
        """The server has acknowledged it; it stays here until its message was heard."""
        if draft.state is not SendState.SENT:
            draft.set_result(message_id)
            if draft.client_id in self._messages:
                self._unconfirmed[draft.client_id] = draft
            self._write_entry(draft, is_removed=True)
            self._on_change(draft)

    def mark_failed(self, draft: PendingMessage, error: BlazeChatError) -> None:
        draft.set_result(error)
        self._write_entry(draft)
        self._on_change(draft)

    def confirm(self, message: Message) -> None:
        """A message of one's own was heard: whether the server's answer came or not, it is stored."""
        draft = self._messages.get(message.client_id)
        if draft is not None and draft.chat_id == message.chat_id:
            self.mark_sent(draft, message.id)
            self._remove(draft)

    def confirm_up_to(self, chat_id: int, newest: int | None) -> None:
        """A chat is known up to that message, or is gone: what is stored is seen there, or nowhere."""
        for draft in list(self._unconfirmed.values()):
            if draft.chat_id == chat_id and (newest is None or (draft.message_id or 0) <= newest):
                self._remove(draft)

    def retry(self, draft: PendingMessage) -> None:
        """Try one again that was refused; it goes to the end of the line."""
        if draft.state is SendState.FAILED and self._messages.pop(draft.client_id, None) is not None:
            draft.state, draft.error, draft.was_attempted = SendState.WAITING, None, False
            self._messages[draft.client_id] = draft
            self._write_entry(draft)
            self._on_change(draft)

    def discard(self, draft: PendingMessage) -> bool:
        """Take back what was not sent yet, or refused. False where it may be stored already."""
        may_be_stored = draft.state is not SendState.FAILED and draft.was_attempted
        if may_be_stored or self._messages.pop(draft.client_id, None) is None:
            return False
        self._write_entry(draft, is_removed=True)
        draft.set_result(MessageDiscarded("The message was discarded."))
        self._on_change(draft)
        return True

    def fail_waiters(self, error: BlazeChatError) -> None:
        """Whoever waits for a message to be stored is told that it will not be for now; it stays here."""
        for draft in self._messages.values():
            draft.fail_waiters(error)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _remove(self, draft: PendingMessage) -> None:
        self._messages.pop(draft.client_id, None)
        self._unconfirmed.pop(draft.client_id, None)

    def _write_entry(self, draft: PendingMessage, *, is_removed: bool = False) -> None:
        if self._journal is None:
            return
        if is_removed:
            self._journal.write(JournalEntry(draft.client_id, is_removed=True))
            return
        refused = str(draft.error) if draft.state is SendState.FAILED else None
        self._journal.write(
            JournalEntry(
                draft.client_id,
                draft.author_id,
                draft.chat_id,
                draft.content,
                draft.reply_to,
                draft.attachments,
                draft.was_attempted,
                refused,
            )
        )


def _read(line: JournalEntry) -> PendingMessage:
    of_message = (line.chat_id, line.content, line.reply_to, line.attachments)
    draft = PendingMessage(line.client_id, *of_message, line.author_id, was_attempted=line.was_attempted)
    if line.error is not None:
        draft.set_result(BlazeChatError(line.error))
    return draft
