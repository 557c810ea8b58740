"""Messages on their way: kept until the server has stored them, sent in order, each stored once.

Every message has a `client_id` of its own, under which the server stores it once however often it comes.
With a file, what was written survives the end of the process, too.
"""

import asyncio
import os
import uuid
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from blazechat.client.errors import BlazeChatError, Discarded
from blazechat.client.shapes import Message


class Condition(StrEnum):
    """How far a message of one's own has come."""

    WAITING = "waiting"
    """It is sent as soon as there is a connection."""
    SENDING = "sending"
    SENT = "sent"
    """Stored for good; `message_id` is its id."""
    FAILED = "failed"
    """The server refused it; `error` says why. It can be tried again, or discarded."""


class Draft(Struct, eq=False):
    """A message of one's own. `await draft.sent()` waits until it is stored."""

    client_id: str
    chat_id: int
    content: str
    reply_to: int | None = None
    condition: Condition = Condition.WAITING
    message_id: int | None = None
    error: BlazeChatError | None = None
    was_tried: bool = False  # so that it may be stored, whatever its condition says
    _settled: asyncio.Future[int] | None = None

    @property
    def is_stored(self) -> bool:
        return self.condition is Condition.SENT

    async def sent(self) -> int:
        """Its id, once it is stored. Raises the server's error if it is refused, or Discarded."""
        if self.condition is Condition.SENT:
            assert self.message_id is not None
            return self.message_id
        if self.condition is Condition.FAILED:
            assert self.error is not None
            raise self.error
        if self._settled is None:
            self._settled = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._settled)

    def settle(self, result: int | BlazeChatError) -> None:
        """It is stored under this id, or was refused."""
        if isinstance(result, int):
            self.condition, self.message_id, self.error = Condition.SENT, result, None
        else:
            self.condition, self.error = Condition.FAILED, result
        if self._settled is not None and not self._settled.done():
            if isinstance(result, int):
                self._settled.set_result(result)
            else:
                self._settled.set_exception(result)
                self._settled.exception()  # whoever waits is told; if nobody does, nothing is logged
        self._settled = None


class Outbox:
    """`changed` is called with each draft that is in another condition."""

    def __init__(self, changed: Callable[[Draft], None], path: Path | None = None) -> None:
        self._drafts: dict[str, Draft] = {}  # in the order in which they were written
        self._changed = changed
        self._journal = Journal(path) if path is not None else None
        if self._journal is not None:
            self._drafts = {draft.client_id: draft for draft in self._journal.read()}

    def write(self, chat_id: int, content: str, reply_to: int | None = None) -> Draft:
        """A new message, which waits to be sent."""
        draft = Draft(uuid.uuid4().hex, chat_id, content, reply_to)
        if self._journal is not None:
            self._journal.add(draft)
        self._drafts[draft.client_id] = draft
        self._changed(draft)
        return draft

    def of(self, chat_id: int) -> list[Draft]:
        """What of a chat is on its way, was refused, or is stored and was not heard of yet; in order."""
        return [draft for draft in self._drafts.values() if draft.chat_id == chat_id]

    def all(self) -> list[Draft]:
        """The same of all chats."""
        return list(self._drafts.values())

    def waiting(self) -> dict[int, list[Draft]]:
        """What has to be sent, by chat, each in its order."""
        found: dict[int, list[Draft]] = {}
        for draft in self._drafts.values():
            if draft.condition in (Condition.WAITING, Condition.SENDING):
                found.setdefault(draft.chat_id, []).append(draft)
        return found

    def first_of(self, chat_id: int) -> Draft | None:
        """What is to be sent next in a chat."""
        for draft in self._drafts.values():
            if draft.chat_id == chat_id and draft.condition in (Condition.WAITING, Condition.SENDING):
                return draft
        return None

    def sending(self, draft: Draft) -> None:
        draft.condition, draft.was_tried = Condition.SENDING, True
        self._changed(draft)

    def back(self, draft: Draft) -> None:
        """It was not answered, and waits to be sent again."""
        if draft.condition is Condition.SENDING:
            draft.condition = Condition.WAITING
            self._changed(draft)

    def stored(self, draft: Draft, message_id: int) -> None:
        """The server has acknowledged it; it stays here until its message was heard."""
        if draft.condition is not Condition.SENT:
            draft.settle(message_id)
            self._done(draft)
            self._changed(draft)

    def refused(self, draft: Draft, error: BlazeChatError) -> None:
        draft.settle(error)
        self._changed(draft)

    def heard(self, message: Message) -> None:
        """A message of one's own was heard: whether the server's answer came or not, it is stored."""
        draft = self._drafts.get(message.client_id)
        if draft is not None and draft.chat_id == message.chat_id:
            self.stored(draft, message.id)
            del self._drafts[draft.client_id]

    def forget(self, draft: Draft) -> None:
        """Its message can be seen otherwise."""
        if draft.condition is Condition.SENT:
            self._drafts.pop(draft.client_id, None)

    def retry(self, draft: Draft) -> None:
        """Try one again that was refused; it goes to the end of the line."""
        if draft.condition is Condition.FAILED and draft.client_id in self._drafts:
            del self._drafts[draft.client_id]
            draft.condition, draft.error, draft.was_tried = Condition.WAITING, None, False
            self._drafts[draft.client_id] = draft
            self._changed(draft)

    def discard(self, draft: Draft) -> bool:
        """Take back what was not sent yet, or refused. False where it may be stored already."""
        may_be_stored = draft.condition is not Condition.FAILED and draft.was_tried
        if may_be_stored or draft.condition is Condition.SENT:
            return False
        if draft.client_id not in self._drafts:
            return False
        del self._drafts[draft.client_id]
        self._done(draft)
        draft.settle(Discarded("The message was discarded."))
        self._changed(draft)
        return True

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _done(self, draft: Draft) -> None:
        if self._journal is not None:
            self._journal.remove(draft)


class _Line(Struct, omit_defaults=True):
    client_id: str
    chat_id: int = 0
    content: str = ""
    reply_to: int | None = None
    done: bool = False


class Journal:
    """A file that only grows, a line for each message written and each that is done; tidied when opened.

    Only its owner may read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file: int | None = None

    def read(self) -> list[Draft]:
        """What was not done with when it was written last. A last line that was cut off is passed over."""
        left: dict[str, _Line] = {}
        with_lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        for text in with_lines:
            try:
                line = msgspec.json.decode(text, type=_Line)
            except msgspec.MsgspecError:
                continue
            if line.done:
                left.pop(line.client_id, None)
            else:
                left[line.client_id] = line
        self._rewrite(left.values())
        return [
            Draft(line.client_id, line.chat_id, line.content, line.reply_to, was_tried=True)
            for line in left.values()
        ]

    def add(self, draft: Draft) -> None:
        self._append(_Line(draft.client_id, draft.chat_id, draft.content, draft.reply_to))

    def remove(self, draft: Draft) -> None:
        self._append(_Line(draft.client_id, done=True))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _rewrite(self, lines: Iterable[_Line]) -> None:
        draft = self._path.with_suffix(".new")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        finally:
            os.close(file)
        draft.replace(self._path)

    def _append(self, line: _Line) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, msgspec.json.encode(line) + b"\n")
