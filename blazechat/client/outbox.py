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

from blazechat.client.errors import BlazeChatError, Discarded, not_unicode
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
    condition: SendState = SendState.WAITING
    message_id: int | None = None
    error: BlazeChatError | None = None
    was_tried: bool = False  # so that it may be stored, whatever its condition says
    _settled: asyncio.Future[int] | None = None

    @property
    def is_stored(self) -> bool:
        return self.condition is SendState.SENT

    async def sent(self) -> int:
        """Its id, once it is stored. Raises the server's error if it is refused, or Discarded."""
        if self.condition is SendState.SENT:
            assert self.message_id is not None
            return self.message_id
        if self.condition is SendState.FAILED:
            assert self.error is not None
            raise self.error
        if self._settled is None:
            self._settled = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._settled)

    def settle(self, result: int | BlazeChatError) -> None:
        """It is stored under this id, or was refused."""
        if isinstance(result, int):
            self.condition, self.message_id, self.error = SendState.SENT, result, None
        else:
            self.condition, self.error = SendState.FAILED, result
        if self._settled is not None and not self._settled.done():
            if isinstance(result, int):
                self._settled.set_result(result)
            else:
                self._settled.set_exception(result)
                self._settled.exception()  # whoever waits is told; if nobody does, nothing is logged
        self._settled = None

    def give_up(self, error: BlazeChatError) -> None:
        """Nobody is to wait for it any longer, whatever becomes of it."""
        if self._settled is not None and not self._settled.done():
            self._settled.set_exception(error)
            self._settled.exception()
        self._settled = None


class Outbox:
    """Of one author at a time: what others wrote here stays where it is, and is not sent as theirs.

    `changed` is called with each draft that is in another condition.
    """

    def __init__(self, changed: Callable[[PendingMessage], None], path: Path | None = None) -> None:
        self.author_id = 0
        self._drafts: dict[str, PendingMessage] = {}  # in the order in which they were written
        self._unheard: dict[str, PendingMessage] = {}  # stored, while their messages were not heard of
        self._changed = changed
        self._journal = Journal(path) if path is not None else None
        for line in self._journal.read() if self._journal is not None else []:
            self._drafts[line.client_id] = _read(line)

    def belongs_to(self, author_id: int) -> None:
        """From now on it is this user's; so is what was written before anybody was logged in."""
        self.author_id = author_id
        for draft in self._drafts.values():
            if not draft.author_id:
                draft.author_id = author_id
                self._note(draft)

    def write(
        self, chat_id: int, content: str, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> PendingMessage:
        """A new message, which waits to be sent. Raises InvalidInput for half a character."""
        if not content.isascii():
            try:
                content.encode()
            except UnicodeEncodeError:
                raise not_unicode() from None
        client_id = uuid.uuid4().hex
        draft = PendingMessage(client_id, chat_id, content, reply_to, tuple(attachments), self.author_id)
        self._drafts[draft.client_id] = draft
        self._note(draft)
        self._changed(draft)
        return draft

    def of(self, chat_id: int) -> list[PendingMessage]:
        """What of a chat is on its way, was refused, or is stored and was not heard of yet; in order."""
        return [draft for draft in self.all() if draft.chat_id == chat_id]

    def all(self) -> list[PendingMessage]:
        """The same of all chats."""
        return [draft for draft in self._drafts.values() if draft.author_id == self.author_id]

    def waiting(self) -> dict[int, list[PendingMessage]]:
        """What has to be sent, by chat, each in its order."""
        found: dict[int, list[PendingMessage]] = {}
        for draft in self.all():
            if draft.condition in (SendState.WAITING, SendState.SENDING):
                found.setdefault(draft.chat_id, []).append(draft)
        return found

    def first_of(self, chat_id: int) -> PendingMessage | None:
        """What is to be sent next in a chat."""
        for draft in self._drafts.values():
            is_due = draft.condition in (SendState.WAITING, SendState.SENDING)
            if draft.chat_id == chat_id and is_due and draft.author_id == self.author_id:
                return draft
        return None

    def sending(self, draft: PendingMessage) -> None:
        draft.condition = SendState.SENDING
        if not draft.was_tried:
            draft.was_tried = True
            self._note(draft)
        self._changed(draft)

    def back(self, draft: PendingMessage) -> None:
        """It was not answered, and waits to be sent again."""
        if draft.condition is SendState.SENDING:
            draft.condition = SendState.WAITING
            self._changed(draft)

    def stored(self, draft: PendingMessage, message_id: int) -> None:
        """The server has acknowledged it; it stays here until its message was heard."""
        if draft.condition is not SendState.SENT:
            draft.settle(message_id)
            if draft.client_id in self._drafts:
                self._unheard[draft.client_id] = draft
            self._note(draft, done=True)
            self._changed(draft)

    def refused(self, draft: PendingMessage, error: BlazeChatError) -> None:
        draft.settle(error)
        self._note(draft)
        self._changed(draft)

    def heard(self, message: Message) -> None:
        """A message of one's own was heard: whether the server's answer came or not, it is stored."""
        draft = self._drafts.get(message.client_id)
        if draft is not None and draft.chat_id == message.chat_id:
            self.stored(draft, message.id)
            self._forget(draft)

    def seen(self, chat_id: int, newest: int | None) -> None:
        """A chat is known up to that message, or is gone: what is stored is seen there, or nowhere."""
        for draft in list(self._unheard.values()):
            if draft.chat_id == chat_id and (newest is None or (draft.message_id or 0) <= newest):
                self._forget(draft)

    def retry(self, draft: PendingMessage) -> None:
        """Try one again that was refused; it goes to the end of the line."""
        if draft.condition is SendState.FAILED and self._drafts.pop(draft.client_id, None) is not None:
            draft.condition, draft.error, draft.was_tried = SendState.WAITING, None, False
            self._drafts[draft.client_id] = draft
            self._note(draft)
            self._changed(draft)

    def discard(self, draft: PendingMessage) -> bool:
        """Take back what was not sent yet, or refused. False where it may be stored already."""
        may_be_stored = draft.condition is not SendState.FAILED and draft.was_tried
        if may_be_stored or self._drafts.pop(draft.client_id, None) is None:
            return False
        self._note(draft, done=True)
        draft.settle(Discarded("The message was discarded."))
        self._changed(draft)
        return True

    def give_up_waiting(self, error: BlazeChatError) -> None:
        """Whoever waits for a message to be stored is told that it will not be for now; it stays here."""
        for draft in self._drafts.values():
            draft.give_up(error)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _forget(self, draft: PendingMessage) -> None:
        self._drafts.pop(draft.client_id, None)
        self._unheard.pop(draft.client_id, None)

    def _note(self, draft: PendingMessage, *, done: bool = False) -> None:
        if self._journal is None:
            return
        if done:
            self._journal.write(JournalEntry(draft.client_id, done=True))
            return
        refused = str(draft.error) if draft.condition is SendState.FAILED else None
        self._journal.write(
            JournalEntry(
                draft.client_id,
                draft.author_id,
                draft.chat_id,
                draft.content,
                draft.reply_to,
                draft.attachments,
                draft.was_tried,
                refused,
            )
        )


def _read(line: JournalEntry) -> PendingMessage:
    of_message = (line.chat_id, line.content, line.reply_to, line.attachments)
    draft = PendingMessage(line.client_id, *of_message, line.author_id, was_tried=line.tried)
    if line.refused is not None:
        draft.settle(BlazeChatError(line.refused))
    return draft
