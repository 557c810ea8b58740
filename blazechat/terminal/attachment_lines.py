"""Describes attachments and messages in one line: type, name, size, dimensions, duration; or the text."""

from rich.text import Text

from blazechat.client import Attachment, Message, PendingMessage
from blazechat.terminal import sanitize
from blazechat.terminal.markdown.document import plain_text

MAX_SUMMARY_CHARACTERS = 500
SIZE_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def line(attachment: Attachment, width: int) -> Text:
    """Return the description of an attachment in at most `width` columns. The name is shortened first."""
    details = ", ".join(
        part
        for part in (
            format_size(attachment.size),
            _dimensions(attachment),
            _duration(attachment.duration),
        )
        if part
    )
    text = Text(f"{type_name(attachment)}: {sanitize.line(attachment.name)}", no_wrap=True)
    text.truncate(max(8, width - len(details) - 2), overflow="ellipsis")
    text.append(f"  {details}", "dim")
    text.truncate(width, overflow="ellipsis")
    return text


def summary(message: Message) -> str:
    """Return the start of a message's text without markup, or a description of its files. Not sanitized."""
    if message.content or not message.attachments:
        return plain_text(message.content[:MAX_SUMMARY_CHARACTERS])
    if len(message.attachments) == 1:
        return f"{type_name(message.attachments[0])}: {message.attachments[0].name}"
    return f"{len(message.attachments)} files"


def pending_summary(pending: PendingMessage) -> str:
    """Return a pending message's text, or the number of its files if it has no text. Not sanitized."""
    count = len(pending.attachments)
    return pending.content or (f"{count} files" if count > 1 else "1 file" if count else "")


def summary_line(message: Message | PendingMessage) -> str:
    """Return the summary of a message as one sanitized line."""
    text = summary(message) if isinstance(message, Message) else pending_summary(message)
    return sanitize.line(" ".join(text.split()))


def type_name(attachment: Attachment) -> str:
    """Return `Image`, `Audio`, `Video` or `File`, by the media type."""
    family = attachment.media_type.partition("/")[0]
    return {"image": "Image", "audio": "Audio", "video": "Video"}.get(family, "File")


def format_size(count: int) -> str:
    """Return a number of bytes in at most three digits and a unit; units are powers of 1,000."""
    amount, unit = float(count), 0
    while amount >= 999.5 and unit < len(SIZE_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    if unit == 0 or amount >= 9.95:
        return f"{amount:.0f} {SIZE_UNITS[unit]}"
    return f"{amount:.1f} {SIZE_UNITS[unit]}"


def _dimensions(attachment: Attachment) -> str:
    if attachment.width is None or attachment.height is None:
        return ""
    return f"{attachment.width}×{attachment.height}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
