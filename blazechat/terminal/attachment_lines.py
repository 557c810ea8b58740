"""Files of a message as lines: what each is, in words."""

from rich.text import Text

from blazechat.client import Attachment, Message, PendingMessage
from blazechat.terminal import sanitize

UNITS = ("bytes", "KB", "MB", "GB", "TB")


def line(attachment: Attachment, width: int) -> Text:
    """Its kind, its name, and what is known of it; at most as many columns."""
    about = ", ".join(
        part for part in (size(attachment.size), _sides(attachment), _length(attachment.duration)) if part
    )
    name = Text(f"{kind(attachment)}: {sanitize.line(attachment.name)}", no_wrap=True)
    name.truncate(max(8, width - len(about) - 2), overflow="ellipsis")
    name.append(f"  {about}", "dim")
    name.truncate(width, overflow="ellipsis")
    return name


def words(message: Message) -> str:
    """What a message says; of one that has files only, what they are. Not made harmless yet."""
    if message.content or not message.attachments:
        return message.content
    if len(message.attachments) == 1:
        return f"{kind(message.attachments[0])}: {message.attachments[0].name}"
    return f"{len(message.attachments)} files"


def words_of_draft(draft: PendingMessage) -> str:
    """The same of one that is on its way."""
    count = len(draft.attachments)
    return draft.content or (f"{count} files" if count > 1 else "1 file" if count else "")


def kind(attachment: Attachment) -> str:
    """What people call such a file."""
    family = attachment.media_type.partition("/")[0]
    return {"image": "Picture", "audio": "Sound", "video": "Film"}.get(family, "File")


def size(count: int) -> str:
    """Bytes as people say them: three digits, powers of 1,000."""
    amount, unit = float(count), 0
    while amount >= 999.5 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {UNITS[unit]}" if unit == 0 or amount >= 9.95 else f"{amount:.1f} {UNITS[unit]}"


def _sides(attachment: Attachment) -> str:
    if attachment.width is None or attachment.height is None:
        return ""
    return f"{attachment.width}×{attachment.height}"


def _length(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
