"""Draws the parts of a message as lines of text: day, author, quote, content, files, reactions, marks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Console
from rich.style import Style
from rich.text import Text

from blazechat.client import Attachment, ChatState, Message, State
from blazechat.terminal import attachment_lines, labels, mentions, sanitize
from blazechat.terminal.deletions import Deletions

INDENT_COLUMNS = 3
GUTTER_COLUMNS = 3
"""Columns at the right for the marks of the user's own messages."""
MIN_TEXT_COLUMNS = 8
MAX_QUOTE_CHARACTERS = 200
STORED, READ, PENDING, FAILED = "✓", "✓✓", "…", "✗"
"""Marks of the user's own messages."""


@dataclass(frozen=True)
class RenderContext:
    """What all messages are drawn with. If it changes, everything is drawn again. `width` is in columns."""

    width: int
    styles: dict[str, Style]
    author_styles: Sequence[Style]
    console: Console
    state: State = field(repr=False)
    deletions: Deletions = field(repr=False, compare=False)
    now: datetime = field(compare=False)

    def author_style(self, user_id: int) -> Style:
        return self.author_styles[user_id % len(self.author_styles)]

    @property
    def text_width(self) -> int:
        """Columns for content, between the indent and the gutter."""
        return max(MIN_TEXT_COLUMNS, self.width - INDENT_COLUMNS - GUTTER_COLUMNS)


def rule(context: RenderContext, label: str, style: str) -> Text:
    """Return a horizontal line with a label in its middle."""
    line = f" {label} "
    left = max(0, (context.width - len(line)) // 2)
    right = max(0, context.width - len(line) - left)
    return Text("─" * left + line + "─" * right, context.styles[style], no_wrap=True)


def heading(context: RenderContext, message: Message) -> Text:
    """Return the author and the time."""
    time = f"{message.created_at.astimezone():%H:%M}"
    line = Text(" ", no_wrap=True)
    line.append(labels.of_author(message, context.state), context.author_style(message.user_id))
    details = f"  {time}" if message.pinned_at is None else f"  {time}  pinned"
    line.truncate(max(4, context.width - len(details)), overflow="ellipsis")
    line.append(details, context.styles["quiet"])
    return line


def quote(context: RenderContext, chat: ChatState, message_id: int) -> Text:
    """Return the line that quotes the message that is replied to."""
    message = chat.messages.get(message_id)
    if message is None:
        content = f"message {message_id}"
    elif context.deletions.is_deleted(message):
        content = "deleted message"
    else:
        author = labels.of_author(message, context.state)
        summary = attachment_lines.summary(message)[:MAX_QUOTE_CHARACTERS].strip()
        content = f"{author}: {sanitize.line(summary)}"
    line = Text(f"{' ' * INDENT_COLUMNS}┌ {content}", context.styles["quiet"], no_wrap=True)
    line.truncate(context.width - GUTTER_COLUMNS, overflow="ellipsis")
    return line


def body(context: RenderContext, chat: ChatState, message: Message) -> list[Text]:
    """Return the content, the files, the read mark and the reactions."""
    if context.deletions.is_deleted(message):
        return [_tombstone(context, message)]
    lines: list[Text] = []
    if message.content:
        lines += wrapped(context, message.content, Style.null(), _suffix(message))
    lines += [_file(context, attachment) for attachment in message.attachments]
    if message.user_id == chat.my_id:
        append_mark(context, lines, read_mark(chat, message))
    if message.reactions:
        lines += _reactions(context, chat.my_id, message)
    return lines


def body_height(context: RenderContext, chat: ChatState, message: Message) -> int:
    """Return the number of lines of the body. Most messages need not be wrapped to find it out."""
    is_one_line = context.deletions.is_deleted(message) or _is_one_line(context, message)
    return 1 if is_one_line else len(body(context, chat, message))


def wrapped(context: RenderContext, content: str, style: Style, suffix: str = "") -> list[Text]:
    """Return a text as indented lines, with mentions of the user highlighted."""
    wrapped_lines: list[Text] = []
    lines = sanitize.lines(content)
    me = context.state.me
    for index, line in enumerate(lines):
        text = Text(line, style)
        if me is not None and "@" in line:
            text.highlight_regex(mentions.pattern(me.username), context.styles["mention"])
        if suffix and index == len(lines) - 1:
            text.append(suffix, context.styles["quiet"])
        wrapped_lines += text.wrap(context.console, context.text_width) or [text]
    for text in wrapped_lines:
        text.pad_left(INDENT_COLUMNS)
        text.no_wrap = True
    return wrapped_lines


def append_mark(context: RenderContext, lines: list[Text], mark: str) -> None:
    """Add a mark at the right of the last line."""
    last = lines[-1]
    last.append(" " * max(1, context.width - last.cell_len - 2))
    last.append(mark.rjust(2), context.styles["failed" if mark == FAILED else "quiet"])


def read_mark(chat: ChatState, message: Message, cursors: dict[int, int] | None = None) -> str:
    """Return the mark of the user's own message: READ if all other members have read it.

    `cursors` are read cursors by user id; None for the chat's current ones.
    """
    if cursors is None:
        cursors = chat.read_cursors
    readers = [cursor for cursor in cursors.values() if cursor >= message.id]
    return READ if len(readers) >= max(1, chat.member_count - 1) else STORED


def _tombstone(context: RenderContext, message: Message) -> Text:
    """Return the line in place of a deleted message; it says how to take the deletion back."""
    quiet = context.styles["quiet"] + Style(italic=True)
    seconds = context.deletions.seconds_left(message)
    line = Text(" " * INDENT_COLUMNS, quiet, no_wrap=True)
    if seconds is None:
        line.append("message deleted")
    else:
        line.append(f"deleted, u or Ctrl+Z undoes, {seconds} s")
        line.truncate(context.width, overflow="ellipsis")
    return line


def _is_one_line(context: RenderContext, message: Message) -> bool:
    """Return True if the body is surely one line, without wrapping it."""
    text = message.content
    fits = 0 < len(text) <= context.text_width - len(_suffix(message))
    has_text_only = not message.reactions and not message.attachments
    return fits and has_text_only and text.isascii() and text.isprintable()


def _suffix(message: Message) -> str:
    return " (edited)" if message.edited_at is not None else ""


def _file(context: RenderContext, attachment: Attachment) -> Text:
    line = attachment_lines.line(attachment, context.text_width)
    line.stylize(context.styles["file"], 0, len(line))
    line.pad_left(INDENT_COLUMNS)
    return line


def _reactions(context: RenderContext, my_id: int, message: Message) -> list[Text]:
    line = Text()
    for reaction in message.reactions:
        style = context.styles["own" if my_id in reaction.user_ids else "reaction"]
        line.append(f"{sanitize.line(reaction.emoji)} {reaction.count}", style)
        line.append("  ")
    lines = list(line.wrap(context.console, context.text_width))
    for text in lines:
        text.pad_left(INDENT_COLUMNS)
    return lines
