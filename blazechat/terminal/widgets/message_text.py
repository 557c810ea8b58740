"""Draws the parts of a message as lines of text: day, author, quote, content, files, reactions, marks."""

from datetime import UTC, datetime

from rich.style import Style
from rich.text import Text

from blazechat.client import Attachment, ChatState, Message, PendingMessage, SendState
from blazechat.terminal import attachment_lines, labels, sanitize
from blazechat.terminal.markdown import document, drawing
from blazechat.terminal.markdown.parser import has_markup
from blazechat.terminal.widgets.render_context import GUTTER_COLUMNS, INDENT_COLUMNS, RenderContext

MAX_QUOTE_CHARACTERS = 200
MAX_KEPT_HEIGHTS = 10_000
STORED, READ, PENDING, FAILED = "✓", "✓✓", "…", "✗"
"""Marks of the user's own messages."""


def rule(context: RenderContext, label: str, style: str) -> Text:
    """Return a horizontal line with a label in its middle."""
    line = f" {label} "
    left = max(0, (context.block_width - len(line)) // 2)
    right = max(0, context.block_width - len(line) - left)
    return Text("─" * left + line + "─" * right, context.styles[style], no_wrap=True)


def heading(context: RenderContext, message: Message, is_sticky: bool = False) -> Text:
    """Return the author and the time; with the day, if the heading stays at the top of the view."""
    name = labels.of_author(message, context.state)
    details = _time(context, message.created_at, is_sticky)
    if message.pinned_at is not None:
        details += "  pinned"
    return _heading(context, name, message.user_id, details)


def pending_heading(
    context: RenderContext, chat: ChatState, message: PendingMessage, is_sticky: bool = False
) -> Text:
    """Return the user's own name, and when they wrote a message that is not stored yet."""
    details = ""
    if message.queued_at:
        details = _time(context, datetime.fromtimestamp(message.queued_at, UTC), is_sticky)
    return _heading(context, labels.of_member(chat, chat.my_id), chat.my_id, details)


def quote(context: RenderContext, chat: ChatState, message_id: int) -> Text:
    """Return the line that quotes the message that is replied to."""
    message = chat.messages.get(message_id)
    if message is None:
        content = f"message {message_id}"
    elif context.deletions.is_deleted(message):
        content = "deleted message"
    else:
        author = labels.of_author(message, context.state)
        content = f"{author}: {attachment_lines.summary_line(message)[:MAX_QUOTE_CHARACTERS]}"
    line = Text(f"{' ' * INDENT_COLUMNS}┌ {content}", context.styles["quiet"], no_wrap=True)
    line.truncate(context.block_width - GUTTER_COLUMNS, overflow="ellipsis")
    return line


def body(context: RenderContext, chat: ChatState, message: Message) -> list[Text]:
    """Return the content, the files, the read mark and the reactions."""
    if context.deletions.is_deleted(message):
        return [_tombstone(context, message)]
    lines: list[Text] = []
    if message.content:
        lines += content_lines(context, message.content, Style.null(), _suffix(message))
    lines += [_file(context, attachment) for attachment in message.attachments]
    if message.user_id == chat.my_id:
        append_mark(context, lines, read_mark(chat, message))
    if message.reactions:
        lines += _reactions(context, chat.my_id, message)
    return lines


def body_height(context: RenderContext, chat: ChatState, message: Message) -> int:
    """Return the number of lines of the body. Most messages need not be wrapped to find it out."""
    if context.deletions.is_deleted(message):
        return 1
    height = _content_height(context, message) + len(message.attachments)
    return height + len(_reactions(context, chat.my_id, message)) if message.reactions else height


def pending_body(context: RenderContext, message: PendingMessage) -> list[Text]:
    """Return the content of a message that is not stored yet; if the server refused it, with the reason."""
    has_failed = message.state is SendState.FAILED
    style = context.styles["failed" if has_failed else "pending"]
    lines = content_lines(context, attachment_lines.pending_summary(message), style)
    append_mark(context, lines, FAILED if has_failed else PENDING)
    if has_failed:
        explanation = f"Not sent: {message.error} Select it: r retries, e edits, d discards it."
        lines += wrapped(context, explanation, context.styles["failed"])
    return lines


def content_lines(context: RenderContext, content: str, style: Style, suffix: str = "") -> list[Text]:
    """Return a message's content as indented lines: its Markdown, with mentions of the user highlighted."""
    blocks = document.of_content(content) if has_markup(content) else None
    if blocks is None:
        return wrapped(context, content, style, suffix)
    return _indented(drawing.draw(blocks, context.canvas(style), suffix))


def wrapped(context: RenderContext, text: str, style: Style, suffix: str = "") -> list[Text]:
    """Return a text without markup as indented lines, with mentions of the user highlighted."""
    return _indented(drawing.draw_plain(sanitize.lines(text), context.canvas(style), suffix))


def append_mark(context: RenderContext, lines: list[Text], mark: str) -> None:
    """Add a mark at the right of the last line."""
    last = lines[-1]
    last.append(" " * max(1, context.block_width - last.cell_len - 2))
    last.append(mark.rjust(2), context.styles["failed" if mark == FAILED else "quiet"])


def read_mark(chat: ChatState, message: Message, cursors: dict[int, int] | None = None) -> str:
    """Return the mark of the user's own message: READ if all other members have read it.

    `cursors` are read cursors by user id; None for the chat's current ones.
    """
    if cursors is None:
        cursors = chat.read_cursors
    readers = [cursor for cursor in cursors.values() if cursor >= message.id]
    return READ if len(readers) >= max(1, chat.people_count - 1) else STORED  # bots do not read


def _tombstone(context: RenderContext, message: Message) -> Text:
    """Return the line in place of a deleted message; it says how to take the deletion back."""
    quiet = context.styles["quiet"] + Style(italic=True)
    seconds = context.deletions.seconds_left(message)
    line = Text(" " * INDENT_COLUMNS, quiet, no_wrap=True)
    if seconds is None:
        line.append("message deleted")
    else:
        line.append(f"deleted, u or Ctrl+Z undoes, {seconds} s")
        line.truncate(context.block_width, overflow="ellipsis")
    return line


def _content_height(context: RenderContext, message: Message) -> int:
    """Return the number of lines of the content. They are drawn once per width to find it out."""
    if not message.content:
        return 0
    content, suffix = key = message.content, _suffix(message)
    heights = context.content_heights
    if key not in heights:
        if len(heights) >= MAX_KEPT_HEIGHTS:
            heights.clear()
        is_one_line = _is_one_line(context, content, suffix)
        heights[key] = 1 if is_one_line else len(content_lines(context, content, Style.null(), suffix))
    return heights[key]


def _is_one_line(context: RenderContext, content: str, suffix: str) -> bool:
    """Return True if the content is surely one line, without wrapping it."""
    fits = len(content) + len(suffix) <= context.text_width
    return fits and content.isascii() and content.isprintable() and not has_markup(content)


def _heading(context: RenderContext, name: str, user_id: int, details: str) -> Text:
    line = Text(" ", no_wrap=True)
    line.append(name, context.author_style(user_id))
    line.truncate(max(4, context.block_width - len(details) - 2), overflow="ellipsis")
    return line.append(f"  {details}", context.styles["quiet"])


def _time(context: RenderContext, moment: datetime, is_sticky: bool) -> str:
    time = f"{moment.astimezone():%H:%M}"
    day = labels.day(moment, context.now) if is_sticky else "Today"
    return time if day == "Today" else f"{day}, {time}"


def _indented(lines: list[Text]) -> list[Text]:
    for line in lines:
        line.pad_left(INDENT_COLUMNS)
        line.no_wrap = True
    return lines


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
