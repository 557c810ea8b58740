"""The outbox file: an append-only journal of unsent messages, which survives the end of the program."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

log = logging.getLogger("blazechat.client")


# The names in the file, which stay the same so that existing files can be read.
_FIELDS = {"was_attempted": "tried", "error": "refused", "is_removed": "done"}


class JournalEntry(Struct, omit_defaults=True, rename=_FIELDS):
    """One line of the journal: the state of a message. The last line of a message is valid."""

    client_id: str
    author_id: int = 0
    chat_id: int = 0
    content: str = ""
    reply_to: int | None = None
    attachments: tuple[int, ...] = ()
    was_attempted: bool = False
    """True if the message was sent at least once, so that the server may have stored it."""
    error: str | None = None
    """Why the server rejected the message."""
    is_removed: bool = False
    """True if the message was stored or discarded."""
    queued_at: float = 0.0
    """In Unix seconds; 0 in files of older versions."""


class Journal:
    """Appends one line per change; `read()` compacts the file. Only the file's owner has access to it.

    A write error, such as a full disk, is logged. The program goes on, without the journal's protection.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file: int | None = None
        self._ends_mid_line = False  # True after a failed write, which may have left a part of a line

    def read(self) -> list[JournalEntry]:
        """Return the messages that are not removed, in order, and compact the file. Skips torn lines."""
        unsent: dict[str, JournalEntry] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                entry = msgspec.json.decode(line, type=JournalEntry)
            except (msgspec.MsgspecError, UnicodeError):
                continue
            if entry.is_removed:
                unsent.pop(entry.client_id, None)
            else:
                unsent[entry.client_id] = entry
        self._compact(unsent.values())
        return list(unsent.values())

    def write(self, entry: JournalEntry) -> None:
        """Append the current state of a message."""
        line = msgspec.json.encode(entry) + b"\n"
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            _write_all(self._file, b"\n" + line if self._ends_mid_line else line)
            self._ends_mid_line = False
        except OSError as error:
            self._ends_mid_line = True
            log.warning("cannot write unsent messages to %s: %s", self._path, error.strerror)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _compact(self, entries: Iterable[JournalEntry]) -> None:
        """Replace the file by one with these entries only. On failure the old file stays."""
        new_path = self._path.with_suffix(".new")
        try:
            file = os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                _write_all(file, b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
                os.fsync(file)
            finally:
                os.close(file)
            new_path.replace(self._path)
        except OSError as error:
            self._ends_mid_line = True
            log.warning("cannot compact %s: %s", self._path, error.strerror)


def _write_all(file: int, content: bytes) -> None:
    """Write everything. `os.write` alone may write a part and report no error, as when a disk fills up."""
    while content:
        content = content[os.write(file, content) :]
