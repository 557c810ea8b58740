"""What a conversation is made of on the screen: blocks of whole lines, one a message.

A block knows how high it is before it is drawn, and is drawn only when it can be seen.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rich.console import Console
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from blazechat.client import Attachment, ChatState, Message, PendingMessage, SendState, State
from blazechat.terminal import attachment_lines, labels, sanitize
from blazechat.terminal.widgets.strips import strip_of

INDENT_COLUMNS = 3
GUTTER_COLUMNS = 3
"""Columns at the right for the mark of one's own messages."""
GROUPING_TIME = timedelta(minutes=5)
"""Messages of one author within it stand under one name."""
MAX_QUOTE_CHARACTERS = 200
STORED, READ, PENDING, REFUSED = "✓", "✓✓", "…", "✗"


@dataclass(frozen=True)
class RenderContext:
    """How a conversation is drawn; another one means that all is drawn anew. `width` is in columns."""

    width: int
    styles: dict[str, Style]
    author_styles: Sequence[Style]
    console: Console
    state: State = field(repr=False)
    now: datetime = field(compare=False)

    def author_style(self, user_id: int) -> Style:
        return self.author_styles[user_id % len(self.author_styles)]


class Block:
    """Lines that belong together. `draw` gives them as text, at most as wide as the look."""

    def __init__(
        self, draw: Callable[[RenderContext], list[Text]], height: Callable[[RenderContext], int] | None = None
    ) -> None:
        self._draw = draw
        self._measure = height
        self._height: int | None = None
        self._strips: dict[bool, list[Strip]] = {}
        self._look: RenderContext | None = None

    def height(self, look: RenderContext) -> int:
        self._know(look)
        if self._height is None:
            self._height = (
                self._measure(look) if self._measure is not None else len(self.strips(look, False))
            )
        return self._height

    def strips(self, look: RenderContext, selected: bool) -> list[Strip]:
        """Its lines, padded to the width."""
        self._know(look)
        if selected not in self._strips:
            base = look.styles["selected" if selected else "text"]
            self._strips[selected] = [
                strip_of(text, look.console, look.width, base) for text in self._draw(look)
            ]
        return self._strips[selected]

    def _know(self, look: RenderContext) -> None:
        if self._look is not look:
            self._look, self._height, self._strips = look, None, {}


def for_message(
    chat: ChatState, message: Message, before: Message | None, first_unread: int | None
) -> Block:
    """A message, under its day, the mark of what is new, and its author, where it needs these."""
    above: list[Callable[[RenderContext], Text]] = []
    starts_day = before is None or not _same_day(before, message)
    starts_new = message.id == first_unread
    if starts_day:
        above.append(lambda look: _rule(look, labels.day(message.created_at, look.now), "day"))
    if starts_new:
        above.append(lambda look: _rule(look, "new messages", "new"))
    if starts_day or starts_new or before is None or not _in_one_breath(before, message):
        above.append(lambda look: _heading(look, message))
    if message.reply_to is not None:
        above.append(lambda look: _quote(look, chat, message.reply_to or 0))

    def draw(look: RenderContext) -> list[Text]:
        return [line(look) for line in above] + _body(look, chat, message)

    def height(look: RenderContext) -> int:
        return len(above) + (1 if _takes_one_line(look, message) else len(_body(look, chat, message)))

    return Block(draw, height)


def for_pending(chat: ChatState, draft: PendingMessage) -> Block:
    """A message that is on its way, or was refused."""

    def draw(look: RenderContext) -> list[Text]:
        failed = draft.state is SendState.FAILED
        found = []
        if draft.reply_to is not None:
            found.append(_quote(look, chat, draft.reply_to))
        said = attachment_lines.pending_summary(draft)
        found += _wrapped(look, said, look.styles["failed" if failed else "pending"])
        _mark(look, found, REFUSED if failed else PENDING)
        if failed:
            why = f"Not sent: {draft.error} — select it, then r retries, e edits, d discards it."
            found += _wrapped(look, why, look.styles["failed"])
        return found

    return Block(draw)


def for_notice(text: str) -> Block:
    """A line in the middle: the beginning of the chat, or what is being loaded."""

    def draw(look: RenderContext) -> list[Text]:
        return [Text(text[: look.width].center(look.width), look.styles["quiet"], no_wrap=True)]

    return Block(draw)


def read_mark_changed(chat: ChatState, message: Message, before: dict[int, int]) -> bool:
    """Whether a message's mark is another than with the cursors as they were `before`."""
    return _read_mark(chat, message) != _read_mark(chat, message, before)


# Parts


def _rule(look: RenderContext, label: str, style: str) -> Text:
    line = f" {label} "
    left = max(0, (look.width - len(line)) // 2)
    right = max(0, look.width - len(line) - left)
    return Text("─" * left + line + "─" * right, look.styles[style], no_wrap=True)


def _heading(look: RenderContext, message: Message) -> Text:
    time = f"{message.created_at.astimezone():%H:%M}"
    line = Text(" ", no_wrap=True)
    line.append(labels.of_author(message, look.state), look.author_style(message.user_id))
    after = f"  {time}" if message.pinned_at is None else f"  {time}  pinned"
    line.truncate(max(4, look.width - len(after)), overflow="ellipsis")
    line.append(after, look.styles["quiet"])
    return line


def _quote(look: RenderContext, chat: ChatState, message_id: int) -> Text:
    message = chat.messages.get(message_id)
    if message is None:
        said = f"message {message_id}"
    elif message.deleted_at is not None:
        said = "a message that was deleted"
    else:
        author = labels.of_author(message, look.state)
        said = f"{author}: {sanitize.line(attachment_lines.summary(message)[:MAX_QUOTE_CHARACTERS].strip())}"
    line = Text(f"{' ' * INDENT_COLUMNS}┌ {said}", look.styles["quiet"], no_wrap=True)
    line.truncate(look.width - GUTTER_COLUMNS, overflow="ellipsis")
    return line


def _body(look: RenderContext, chat: ChatState, message: Message) -> list[Text]:
    if message.deleted_at is not None:
        return [Text(" " * INDENT_COLUMNS + "message deleted", look.styles["quiet"] + Style(italic=True))]
    found = [] if not message.content else _wrapped(look, message.content, Style.null(), _suffix(message))
    found += [_file(look, each) for each in message.attachments]
    if message.user_id == chat.my_id:
        _mark(look, found, _read_mark(chat, message))
    if message.reactions:
        found += _reactions(look, chat.my_id, message)
    return found


def _takes_one_line(look: RenderContext, message: Message) -> bool:
    """Whether that can be said without wrapping it."""
    text = message.content
    fits = 0 < len(text) <= _room(look) - len(_suffix(message))
    bare = not message.reactions and not message.attachments
    return fits and bare and text.isascii() and text.isprintable()


def _file(look: RenderContext, attachment: Attachment) -> Text:
    line = attachment_lines.line(attachment, _room(look))
    line.stylize(look.styles["file"], 0, len(line))
    line.pad_left(INDENT_COLUMNS)
    return line


def _suffix(message: Message) -> str:
    return " (edited)" if message.edited_at is not None else ""


def _wrapped(look: RenderContext, content: str, style: Style, suffix: str = "") -> list[Text]:
    found: list[Text] = []
    lines = sanitize.lines(content)
    me = look.state.me
    for number, line in enumerate(lines):
        text = Text(line, style)
        if me is not None and "@" in line:
            text.highlight_regex(_mention_of(me.username), look.styles["mention"])
        if suffix and number == len(lines) - 1:
            text.append(suffix, look.styles["quiet"])
        found += text.wrap(look.console, _room(look)) or [text]
    for text in found:
        text.pad_left(INDENT_COLUMNS)
        text.no_wrap = True
    return found


def _mention_of(username: str) -> str:
    return rf"(?i)(?<!\w)@{re.escape(username)}(?!\w)"


def _reactions(look: RenderContext, my_id: int, message: Message) -> list[Text]:
    line = Text()
    for reaction in message.reactions:
        mine = my_id in reaction.user_ids
        line.append(
            f"{sanitize.line(reaction.emoji)} {reaction.count}", look.styles["own" if mine else "reaction"]
        )
        line.append("  ")
    found = line.wrap(look.console, _room(look))
    for text in found:
        text.pad_left(INDENT_COLUMNS)
    return list(found)


def _mark(look: RenderContext, lines: list[Text], mark: str) -> None:
    last = lines[-1]
    last.append(" " * max(1, look.width - last.cell_len - 2))
    last.append(mark.rjust(2), look.styles["failed" if mark == REFUSED else "quiet"])


def _read_mark(chat: ChatState, message: Message, cursors: dict[int, int] | None = None) -> str:
    read = [each for each in (chat.read_cursors if cursors is None else cursors).values() if each >= message.id]
    return READ if len(read) >= max(1, chat.member_count - 1) else STORED


def _room(look: RenderContext) -> int:
    return max(8, look.width - INDENT_COLUMNS - GUTTER_COLUMNS)


def _in_one_breath(before: Message, message: Message) -> bool:
    return (
        before.user_id == message.user_id
        and before.user.display_name == message.user.display_name
        and message.reply_to is None
        and message.created_at - before.created_at <= GROUPING_TIME
    )


def _same_day(one: Message, other: Message) -> bool:
    return one.created_at.astimezone().date() == other.created_at.astimezone().date()
