"""The layout of the message list: the blocks of the open chat, and the line at which each begins.

Blocks are numbered from the top: stored messages in the order of their ids, then pending messages. Lines
are those of the scrollable area. It has the padding first, then the notice, then the blocks.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from blazechat.client import ChatState, Message, PendingMessage
from blazechat.terminal.widgets import message_blocks
from blazechat.terminal.widgets.message_blocks import Block
from blazechat.terminal.widgets.message_text import read_mark
from blazechat.terminal.widgets.render_context import RenderContext

Key = int | str
"""Identifies a block: a message's id, or a pending message's `client_id`."""

NOTICE_LINES = 1


@dataclass(frozen=True)
class Anchor:
    """A message, and how many of its lines are above the view."""

    message_id: int
    lines_above: int


class MessageLayout:
    """The blocks of `chat`. The line "new messages" is above the message `first_unread`.

    Methods that need heights take the context that the blocks are drawn with; None while the widget has no
    size.
    """

    def __init__(self) -> None:
        self.chat: ChatState | None = None
        self.first_unread: int | None = None
        self.padding = 0
        """Empty lines above the notice, if the messages do not fill the view."""
        self.ids: list[int] = []
        self.messages: dict[int, Message] = {}
        self.pending: list[PendingMessage] = []
        self._outbox: list[PendingMessage] = []
        self._blocks: list[Block] = []
        self._tops: list[int] = []  # first line of each block of a stored message, without the padding
        self._pending_blocks: list[Block] = []
        self._read_cursors: dict[int, int] = {}

    # Changes

    def rebuild(self, context: RenderContext | None) -> None:
        """Read all messages from the chat's state."""
        self.ids, self.messages, self._blocks, self._tops = [], {}, [], []
        self._read_cursors = dict(self.chat.read_cursors) if self.chat else {}
        for message in self.chat.ordered_messages() if self.chat else []:
            self._append(message, context)
        self._update_pending_blocks()

    def update(self, changed_ids: set[int], context: RenderContext | None) -> bool:
        """Read new and changed messages, and those that quote them. Return False if a rebuild is necessary.

        That is so if a message was added above the last one.
        """
        assert self.chat is not None
        quoting_ids = {each.id for each in self.messages.values() if each.reply_to in changed_ids}
        for message_id in sorted(changed_ids | quoting_ids):
            message = self.chat.messages.get(message_id)
            if message is None:
                continue
            index = self.index_of(message_id)
            if index is not None:
                self.messages[message_id] = message
                self._blocks[index] = self._block(index)
                self.measure(index, context)
            elif not self.ids or message_id > self.ids[-1]:
                self._append(message, context)
            else:
                return False
        self._update_pending_blocks()
        return True

    def update_pending(self, pending: list[PendingMessage]) -> None:
        """Replace the pending messages. Those whose stored message is in the list already are left out."""
        self._outbox = pending
        self._update_pending_blocks()

    def update_read_marks(self) -> None:
        """Replace the blocks of the user's own messages whose read mark has changed."""
        assert self.chat is not None
        previous, self._read_cursors = self._read_cursors, dict(self.chat.read_cursors)
        read_by_all = min(previous.values(), default=0)
        for index in range(len(self.ids) - 1, -1, -1):
            message = self.messages[self.ids[index]]
            if message.id <= read_by_all:
                break
            is_own = message.user_id == self.chat.my_id
            if is_own and read_mark(self.chat, message) != read_mark(self.chat, message, previous):
                self._blocks[index] = self._block(index)

    def measure(self, start: int, context: RenderContext | None) -> None:
        """Compute the first lines of the blocks from index `start` on."""
        if context is None:
            return
        del self._tops[start:]
        top = NOTICE_LINES
        if start and self._tops:
            top = self._tops[-1] + self._blocks[start - 1].height(context)
        for block in self._blocks[len(self._tops) :]:
            self._tops.append(top)
            top += block.height(context)

    # Positions

    @property
    def is_measured(self) -> bool:
        return len(self._tops) == len(self._blocks)

    @property
    def keys(self) -> list[Key]:
        """The keys of all blocks, from the top."""
        return [*self.ids, *(message.client_id for message in self.pending)]

    def index_of(self, message_id: int) -> int | None:
        """Return the index of a stored message; None if it is not loaded."""
        index = bisect_left(self.ids, message_id)
        return index if index < len(self.ids) and self.ids[index] == message_id else None

    def height(self, context: RenderContext | None) -> int:
        """Return the number of lines, without the padding."""
        if context is None:
            return 0
        return self._end(context) + sum(block.height(context) for block in self._pending_blocks)

    def index_at(self, line: int, context: RenderContext | None) -> int:
        """Return the index of the block on a line, or of the nearest one."""
        line -= self.padding
        if context is None or (not self._blocks and not self._pending_blocks):
            return 0
        end = self._end(context)
        if line < end:
            return max(0, bisect_right(self._tops, line) - 1)
        index = len(self._blocks)
        for block in self._pending_blocks:
            end += block.height(context)
            if line < end:
                return index
            index += 1
        return max(0, index - 1)

    def position(self, index: int, context: RenderContext | None) -> tuple[int, int]:
        """Return the first line and the height of a block; zeros if there is no such block."""
        if context is None or index >= len(self._blocks) + len(self._pending_blocks):
            return 0, 0
        if index < len(self._blocks):
            return self._tops[index] + self.padding, self._blocks[index].height(context)
        pending_index = index - len(self._blocks)
        above = sum(block.height(context) for block in self._pending_blocks[:pending_index])
        top = self._end(context) + above
        return top + self.padding, self._pending_blocks[pending_index].height(context)

    def block_and_key(self, index: int) -> tuple[Block | None, Key | None]:
        if index < len(self._blocks):
            return self._blocks[index], self.ids[index]
        index -= len(self._blocks)
        if index < len(self._pending_blocks):
            return self._pending_blocks[index], self.pending[index].client_id
        return None, None

    def anchor_at(self, line: int, context: RenderContext | None) -> Anchor | None:
        """Return the stored message on a line, to scroll back to; None without messages."""
        if not self.ids:
            return None
        index = min(self.index_at(line, context), len(self.ids) - 1)
        top, _ = self.position(index, context)
        return Anchor(self.ids[index], line - top)

    def line_of(self, anchor: Anchor, context: RenderContext | None) -> int | None:
        """Return the line of an anchor in this layout.

        If its message is gone, the next message counts; without a next one the result is None.
        """
        index = bisect_left(self.ids, anchor.message_id)
        if index == len(self.ids):
            return None
        top, _ = self.position(index, context)
        return top + anchor.lines_above

    def _end(self, context: RenderContext) -> int:
        """Return the line after the stored messages, without the padding."""
        return self._tops[-1] + self._blocks[-1].height(context) if self._blocks else NOTICE_LINES

    def _append(self, message: Message, context: RenderContext | None) -> None:
        self.ids.append(message.id)
        self.messages[message.id] = message
        self._blocks.append(self._block(len(self.ids) - 1))
        self.measure(len(self._blocks) - 1, context)

    def _block(self, index: int) -> Block:
        assert self.chat is not None
        previous = self.messages[self.ids[index - 1]] if index else None
        group = self._blocks[index - 1].group if index else None
        return message_blocks.for_message(
            self.chat, self.messages[self.ids[index]], previous, group, self.first_unread
        )

    def _update_pending_blocks(self) -> None:
        """Replace the blocks of pending messages: the message above them might be another one now."""
        self.pending, self._pending_blocks = [], []
        if self.chat is None:
            return
        self.pending = [message for message in self._outbox if message.message_id not in self.messages]
        group = self._blocks[-1].group if self._blocks else None
        for message in self.pending:
            block = message_blocks.for_pending(self.chat, message, group)
            group = block.group
            self._pending_blocks.append(block)
