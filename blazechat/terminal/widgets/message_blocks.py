"""Blocks of the message list: one per message, made of whole lines.

A block knows its height before it is drawn. It is drawn when it becomes visible, and keeps its lines.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.text import Text
from textual.strip import Strip

from blazechat.client import ChatState, Message, PendingMessage
from blazechat.terminal import labels
from blazechat.terminal.widgets import message_text
from blazechat.terminal.widgets.render_context import RenderContext
from blazechat.terminal.widgets.strips import strip_of

GROUPING_TIME = timedelta(minutes=5)
"""Messages of one author within this time after a heading stand under it."""


@dataclass(frozen=True)
class Group:
    """The heading that a message stands under: whose it is, and the time in it."""

    user_id: int
    name: str
    began_at: datetime

    def has(self, user_id: int, name: str, moment: datetime) -> bool:
        """Return True if the next message stands under the heading as well."""
        is_same_author = user_id == self.user_id and name == self.name
        return is_same_author and abs(moment - self.began_at) <= GROUPING_TIME


Heading = Callable[[RenderContext, bool], Text]
"""Draws a heading; the bool is True if it stays above a message while it scrolls."""


class Block:
    """Lines that are drawn together. `draw` returns them as text, at most as wide as the context.

    `measure` returns the height without drawing. Without it, the block is drawn to find out its height.
    The first `rule_lines` lines belong to the chat, and not to the message: they are never highlighted.
    `heading` draws the line with the author and the time. If `has_heading`, it is the line after the rules;
    otherwise the message stands under the heading of `group`. It also stays above a block that is scrolled.
    """

    def __init__(
        self,
        draw: Callable[[RenderContext], list[Text]],
        measure: Callable[[RenderContext], int] | None = None,
        *,
        rule_lines: int = 0,
        heading: Heading | None = None,
        has_heading: bool = False,
        group: Group | None = None,
    ) -> None:
        self.group = group
        self.has_heading = has_heading
        self.rule_lines = rule_lines
        self._draw = draw
        self._measure = measure
        self._heading = heading
        self._height: int | None = None
        self._strips: dict[bool, list[Strip]] = {}  # by whether the block is selected
        self._sticky_heading: Strip | None = None
        self._context: RenderContext | None = None  # of the cached height and strips

    def height(self, context: RenderContext) -> int:
        self._set_context(context)
        if self._height is None:
            self._height = (
                self._measure(context) if self._measure is not None else len(self.strips(context, False))
            )
        return self._height

    def strips(self, context: RenderContext, is_selected: bool) -> list[Strip]:
        """Return the lines, padded to the width of the context."""
        self._set_context(context)
        if is_selected not in self._strips:
            plain, highlighted = (
                context.styles["text"],
                context.styles["selected" if is_selected else "text"],
            )
            self._strips[is_selected] = [
                strip_of(
                    text, context.console, context.width, plain if index < self.rule_lines else highlighted
                )
                for index, text in enumerate(self._draw(context))
            ]
        return self._strips[is_selected]

    def sticky_heading(self, context: RenderContext, hidden_lines: int) -> Strip | None:
        """Return the heading to show instead of the first visible line of the block.

        `hidden_lines` of the block are above the view. None if its own heading is still visible.
        """
        if self._heading is None or hidden_lines < self.rule_lines + self.has_heading:
            return None
        self._set_context(context)
        if self._sticky_heading is None:
            text = self._heading(context, True)
            self._sticky_heading = strip_of(text, context.console, context.width, context.styles["sticky"])
        return self._sticky_heading

    def _set_context(self, context: RenderContext) -> None:
        """Drop the cache if the context is another one."""
        if self._context is not context:
            self._context, self._height, self._strips = context, None, {}
            self._sticky_heading = None


def for_message(
    chat: ChatState,
    message: Message,
    previous: Message | None,
    group: Group | None,
    first_unread: int | None,
) -> Block:
    """Return the block of a message, with the lines above it that differ from the previous message.

    These are the day, the line above the first unread message, the author and the quote. `group` is that of
    the previous message.
    """
    above: list[Callable[[RenderContext], Text]] = []
    if previous is None or not _is_same_day(previous.created_at, message.created_at):
        above.append(
            lambda context: message_text.rule(context, labels.day(message.created_at, context.now), "day")
        )
    if message.id == first_unread:
        above.append(lambda context: message_text.rule(context, "new messages", "new"))
    rule_lines = len(above)
    name = message.user.display_name
    stands_alone = message.reply_to is not None or message.pinned_at is not None or rule_lines > 0
    has_heading = stands_alone or group is None or not group.has(message.user_id, name, message.created_at)
    if has_heading:
        group = Group(message.user_id, name, message.created_at)
        above.append(lambda context: message_text.heading(context, message))
    if message.reply_to is not None:
        above.append(lambda context: message_text.quote(context, chat, message.reply_to or 0))

    def draw(context: RenderContext) -> list[Text]:
        return [line(context) for line in above] + message_text.body(context, chat, message)

    def measure(context: RenderContext) -> int:
        return len(above) + message_text.body_height(context, chat, message)

    return Block(
        draw,
        measure,
        rule_lines=rule_lines,
        heading=lambda context, is_sticky: message_text.heading(context, message, is_sticky),
        has_heading=has_heading,
        group=group,
    )


def for_pending(chat: ChatState, message: PendingMessage, group: Group | None) -> Block:
    """Return the block of a message that is not stored yet, or was refused by the server.

    It has the user's own name above it. `group` is that of the previous message.
    """
    moment = datetime.fromtimestamp(message.queued_at, UTC)
    name = chat.members[chat.my_id].display_name if chat.my_id in chat.members else ""
    has_heading = message.reply_to is not None or group is None or not group.has(chat.my_id, name, moment)
    if has_heading:
        group = Group(chat.my_id, name, moment)

    def draw(context: RenderContext) -> list[Text]:
        lines = [message_text.pending_heading(context, chat, message)] if has_heading else []
        if message.reply_to is not None:
            lines.append(message_text.quote(context, chat, message.reply_to))
        return lines + message_text.pending_body(context, message)

    return Block(
        draw,
        heading=lambda context, is_sticky: message_text.pending_heading(context, chat, message, is_sticky),
        has_heading=has_heading,
        group=group,
    )


def for_notice(text: str) -> Block:
    """Return the block of the centred line above the first message."""

    def draw(context: RenderContext) -> list[Text]:
        line = text[: context.block_width].center(context.block_width)
        return [Text(line, context.styles["quiet"], no_wrap=True)]

    return Block(draw)


def _is_same_day(one: datetime, other: datetime) -> bool:
    return one.astimezone().date() == other.astimezone().date()
