"""Prints messages and other values as text or JSON to standard output, and progress to standard error."""

import sys
from pathlib import Path

import msgspec

from blazechat.client import Message
from blazechat.client.files import OnProgress
from blazechat.terminal import attachment_lines, sanitize

FILE_LINE_COLUMNS = 200
"""Width of the line that describes an attachment."""


def print_line(value: object) -> None:
    """Print a string as it is, any other value as JSON, and flush. Raises OSError."""
    if sys.stdout is None:
        raise OSError("there is no standard output")
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_message(message: Message, author_name: str) -> None:
    """Print a message as text. A deleted message is not printed."""
    if message.deleted_at is not None:
        return
    time = f"{message.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
    files = [attachment_lines.line(each, FILE_LINE_COLUMNS).plain for each in message.attachments]
    text = sanitize.lines(message.content) if message.content or not files else []
    first, *more = [*text, *files]
    line = f"{time} {author_name}: {first}"
    print_line("\n".join([line, *(f"    {each}" for each in more)]))


def progress_printer(path: Path) -> OnProgress | None:
    """Return a callback that prints the percentage to standard error; None if that is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None

    def on_progress(done_bytes: int, total_bytes: int) -> None:
        percent = 100 * done_bytes // total_bytes if total_bytes else 100
        end = "\n" if done_bytes >= total_bytes else ""
        print(f"\r{sanitize.line(path.name)}: {percent} %", end=end, file=sys.stderr)

    return on_progress
