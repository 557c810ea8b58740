"""Blocks of the message list: one per message, made of whole lines.

A block knows its height before it is drawn. It is drawn when it becomes visible, and keeps its lines.
"""

from collections.abc import Callable
from datetime import timedelta

from rich.text import Text
from textual.strip import Strip

from blazechat.client import ChatState, Message, PendingMessage, SendState
from blazechat.terminal import attachment_lines, labels
from blazechat.terminal.widgets import message_text
from blazechat.terminal.widgets.message_text import RenderContext
from blazechat.terminal.widgets.strips import strip_of

GROUPING_TIME = timedelta(minutes=5)
"""Messages of one author within this time have one heading."""


class Block:
    """Lines that are drawn together. `draw` returns them as text, at most as wide as the context.

    `measure` returns the height without drawing. Without it, the block is drawn to find out its height.
    The first `rule_lines` lines belong to the chat, and not to the message: they are never highlighted.
    """

    def __init__(
        self,
        draw: Callable[[RenderContext], list[Text]],
        measure: Callable[[RenderContext], int] | None = None,
        rule_lines: int = 0,
    ) -> None:
        self._draw = draw
        self._measure = measure
        self._rule_lines = rule_lines
        self._height: int | None = None
        self._strips: dict[bool, list[Strip]] = {}  # by whether the block is selected
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
            plain, highlighted = context.styles["text"], context.styles["selected" if is_selected else "text"]
            self._strips[is_selected] = [
                strip_of(
                    text, context.console, context.width, plain if index < self._rule_lines else highlighted
                )
                for index, text in enumerate(self._draw(context))
            ]
        return self._strips[is_selected]

    def _set_context(self, context: RenderContext) -> None:
        """Drop the cache if the context is another one."""
        if self._context is not context:
            self._context, self._height, self._strips = context, None, {}


def for_message(
    chat: ChatState, message: Message, previous: Message | None, first_unread: int | None
) -> Block:
    """Return the block of a message, with the lines above it that differ from the previous message.

    These are the day, the line above the first unread message, the author and the quote.
    """
    above: list[Callable[[RenderContext], Text]] = []
    starts_day = previous is None or not _is_same_day(previous, message)
    is_first_unread = message.id == first_unread
    if starts_day:
        above.append(
            lambda context: message_text.rule(context, labels.day(message.created_at, context.now), "day")
        )
    if is_first_unread:
        above.append(lambda context: message_text.rule(context, "new messages", "new"))
    if starts_day or is_first_unread or previous is None or not _is_grouped(previous, message):
        above.append(lambda context: message_text.heading(context, message))
    if message.reply_to is not None:
        above.append(lambda context: message_text.quote(context, chat, message.reply_to or 0))

    def draw(context: RenderContext) -> list[Text]:
        return [line(context) for line in above] + message_text.body(context, chat, message)

    def measure(context: RenderContext) -> int:
        return len(above) + message_text.body_height(context, chat, message)

    return Block(draw, measure, rule_lines=starts_day + is_first_unread)


def for_pending(chat: ChatState, message: PendingMessage) -> Block:
    """Return the block of a message that is not stored yet, or was refused by the server."""

    def draw(context: RenderContext) -> list[Text]:
        has_failed = message.state is SendState.FAILED
        lines = []
        if message.reply_to is not None:
            lines.append(message_text.quote(context, chat, message.reply_to))
        style = context.styles["failed" if has_failed else "pending"]
        lines += message_text.wrapped(context, attachment_lines.pending_summary(message), style)
        mark = message_text.FAILED if has_failed else message_text.PENDING
        message_text.append_mark(context, lines, mark)
        if has_failed:
            explanation = f"Not sent: {message.error} Select it: r retries, e edits, d discards it."
            lines += message_text.wrapped(context, explanation, context.styles["failed"])
        return lines

    return Block(draw)


def for_notice(text: str) -> Block:
    """Return the block of the centred line above the first message."""

    def draw(context: RenderContext) -> list[Text]:
        line = text[: context.width].center(context.width)
        return [Text(line, context.styles["quiet"], no_wrap=True)]

    return Block(draw)


def _is_grouped(previous: Message, message: Message) -> bool:
    """Return True if the message stands under the heading of the previous one."""
    return (
        previous.user_id == message.user_id
        and previous.user.display_name == message.user.display_name
        and message.reply_to is None
        and message.created_at - previous.created_at <= GROUPING_TIME
    )


def _is_same_day(one: Message, other: Message) -> bool:
    return one.created_at.astimezone().date() == other.created_at.astimezone().date()
