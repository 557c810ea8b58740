"""Files of a message as lines: what each is, in words."""

from rich.text import Text

from blazechat.client import Attachment, Message, PendingMessage
from blazechat.terminal import sanitize

SIZE_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def line(attachment: Attachment, width: int) -> Text:
    """Its kind, its name, and what is known of it; at most as many columns."""
    about = ", ".join(
        part for part in (format_size(attachment.size), _dimensions(attachment), _duration(attachment.duration)) if part
    )
    name = Text(f"{type_name(attachment)}: {sanitize.line(attachment.name)}", no_wrap=True)
    name.truncate(max(8, width - len(about) - 2), overflow="ellipsis")
    name.append(f"  {about}", "dim")
    name.truncate(width, overflow="ellipsis")
    return name


def summary(message: Message) -> str:
    """What a message says; of one that has files only, what they are. Not made harmless yet."""
    if message.content or not message.attachments:
        return message.content
    if len(message.attachments) == 1:
        return f"{type_name(message.attachments[0])}: {message.attachments[0].name}"
    return f"{len(message.attachments)} files"


def pending_summary(draft: PendingMessage) -> str:
    """The same of one that is on its way."""
    count = len(draft.attachments)
    return draft.content or (f"{count} files" if count > 1 else "1 file" if count else "")


def type_name(attachment: Attachment) -> str:
    """What people call such a file."""
    family = attachment.media_type.partition("/")[0]
    return {"image": "Picture", "audio": "Sound", "video": "Film"}.get(family, "File")


def format_size(count: int) -> str:
    """Bytes as people say them: three digits, powers of 1,000."""
    amount, unit = float(count), 0
    while amount >= 999.5 and unit < len(SIZE_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {SIZE_UNITS[unit]}" if unit == 0 or amount >= 9.95 else f"{amount:.1f} {SIZE_UNITS[unit]}"


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
