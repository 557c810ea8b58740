"""Deletes messages after a delay in which the user can take the deletion back."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from blazechat.client import BlazeChatError, Message, PendingMessage
from blazechat.client.errors import NotFound
from blazechat.terminal import attachment_lines

UNDO_SECONDS = 10.0
"""How long a deletion can be taken back. Then it is sent to the server."""
FINISH_TIMEOUT_SECONDS = 5.0
"""How long the end of a session waits for the server's answers."""
MAX_QUOTED_CHARACTERS = 30

SendDeletion = Callable[[int, int], Awaitable[object]]
"""Deletes the message with this chat id and this id on the server."""


@dataclass(eq=False)
class _Deletion:
    """A deletion that is not confirmed by the server. `deadline` is a loop time."""

    message: Message
    deadline: float
    send_now: asyncio.Event = field(default_factory=asyncio.Event)
    is_sent: bool = False
    task: asyncio.Task[str | None] | None = None


@dataclass(eq=False)
class _Discarded:
    """An unsent message that was discarded. `restore` puts it back into the outbox."""

    quote: str
    deadline: float
    restore: Callable[[], object]


class Deletions:
    """The deletions of one account. A message in it is displayed as deleted.

    If the server cannot be reached or refuses, the message is displayed again, and `on_failure` is called
    with a sentence for the user. `on_change` is called with the ids of the chat and of the message whenever
    the message has to be drawn again. The screen sets both.
    """

    def __init__(self, send: SendDeletion, undo_seconds: float = UNDO_SECONDS) -> None:
        self.undo_seconds = undo_seconds
        self.on_change: Callable[[int, int], None] = lambda chat_id, message_id: None
        self.on_failure: Callable[[str], None] = lambda reason: None
        self._send = send
        self._deletions: dict[tuple[int, int], _Deletion] = {}  # by chat id and message id, oldest first
        self._discarded: list[_Discarded] = []

    def delete(self, message: Message) -> None:
        """Display a message as deleted, and delete it on the server after the delay."""
        key = (message.chat_id, message.id)
        if key not in self._deletions:
            deletion = self._deletions[key] = _Deletion(message, self._now() + self.undo_seconds)
            deletion.task = asyncio.create_task(self._send_after_delay(deletion))
            self.on_change(*key)

    def note_discarded(self, quote: str, restore: Callable[[], object]) -> None:
        """Note that an unsent message was discarded, so that `undo` can restore it."""
        self._discarded.append(_Discarded(quote, self._now() + self.undo_seconds, restore))

    def undo(self, message: Message | None = None) -> str | None:
        """Take back the deletion of this message, else the newest one.

        Returns a sentence for the user; None if there is nothing to take back.
        """
        if message is not None and self.seconds_left(message) is not None:
            undoable: _Deletion | _Discarded = self._deletions[message.chat_id, message.id]
        else:
            self._discarded = [each for each in self._discarded if each.deadline > self._now()]
            unsent = [each for each in self._deletions.values() if not each.is_sent]
            candidates: list[_Deletion | _Discarded] = [*unsent, *self._discarded]
            if not candidates:
                return None
            undoable = max(candidates, key=lambda each: each.deadline)
        if isinstance(undoable, _Discarded):
            self._discarded.remove(undoable)
            undoable.restore()
            return f"In the chat again: {undoable.quote}"
        self._remove(undoable)
        return f"In the chat again: {quote(undoable.message)}"

    def is_deleted(self, message: Message) -> bool:
        """Return True if this message is displayed as deleted, or is deleted on the server."""
        return message.deleted_at is not None or (message.chat_id, message.id) in self._deletions

    def seconds_left(self, message: Message) -> int | None:
        """Return how long the deletion of this message can be taken back; None if it cannot."""
        deletion = self._deletions.get((message.chat_id, message.id))
        if deletion is None or deletion.is_sent:
            return None
        return max(1, round(deletion.deadline - self._now()))

    def tick(self) -> None:
        """Draw the seconds that are left, once per second."""
        for key, deletion in self._deletions.items():
            if not deletion.is_sent:
                self.on_change(*key)

    async def finish(self) -> str:
        """Send all outstanding deletions now. Returns why some of them failed, or an empty string."""
        for deletion in self._deletions.values():
            deletion.send_now.set()
        tasks = [each.task for each in self._deletions.values() if each.task and not each.task.done()]
        if not tasks:
            return ""
        done, unfinished = await asyncio.wait(tasks, timeout=FINISH_TIMEOUT_SECONDS)
        for task in unfinished:
            task.cancel()
        reasons = [reason for task in done if (reason := task.result())]
        if unfinished:
            reasons.append("The server did not answer in time: some messages might not be deleted.")
        return " ".join(reasons)

    @property
    def has_outstanding(self) -> bool:
        """True if a deletion is not sent yet."""
        return any(not deletion.is_sent for deletion in self._deletions.values())

    async def _send_after_delay(self, deletion: _Deletion) -> str | None:
        """Return why the deletion failed, or None."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deletion.deadline):
                await deletion.send_now.wait()
        deletion.is_sent = True
        message = deletion.message
        self.on_change(message.chat_id, message.id)  # it cannot be taken back any more
        try:
            await self._send(message.chat_id, message.id)
        except NotFound:
            pass  # the chat was deleted, or left
        except BlazeChatError as error:
            reason = f"{quote(message)} was not deleted: {error}"
            self._remove(deletion)
            self.on_failure(reason)
            return reason
        self.on_change(message.chat_id, message.id)
        return None

    def _remove(self, deletion: _Deletion) -> None:
        message = deletion.message
        self._deletions.pop((message.chat_id, message.id), None)
        if deletion.task is not None and not deletion.is_sent:
            deletion.task.cancel()
        self.on_change(message.chat_id, message.id)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def quote(message: Message | PendingMessage) -> str:
    """Return the beginning of a message in quotation marks."""
    line = attachment_lines.summary_line(message)
    cut = line if len(line) <= MAX_QUOTED_CHARACTERS else f"{line[: MAX_QUOTED_CHARACTERS - 1]}…"
    return f"“{cut}”"
