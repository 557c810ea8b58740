"""A file of what is not sent yet, so that it survives the end of the program."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

log = logging.getLogger("blazechat.client")


class JournalEntry(Struct, omit_defaults=True):
    """How it is with a message; of several lines about one, the last counts.

    `tried` tells that it may be stored already, `refused` why the server did not take it.
    """

    client_id: str
    author_id: int = 0
    chat_id: int = 0
    content: str = ""
    reply_to: int | None = None
    attachments: tuple[int, ...] = ()
    was_attempted: bool = False
    error: str | None = None
    is_removed: bool = False


class Journal:
    """Only grows, by a line for each change; tidied when it is opened. Only its owner may read it.

    A disk that is full costs the safety of what is written from then on, which is logged, and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file: int | None = None
        self._ends_mid_line = False  # whether the last line was not written to its end

    def read(self) -> list[JournalEntry]:
        """What was not done with, in order. Lines that were cut off are passed over."""
        left: dict[str, JournalEntry] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        for text in lines:
            try:
                line = msgspec.json.decode(text, type=JournalEntry)
            except (msgspec.MsgspecError, UnicodeError):
                continue
            if line.is_removed:
                left.pop(line.client_id, None)
            else:
                left[line.client_id] = line
        self._compact(left.values())
        return list(left.values())

    def write(self, line: JournalEntry) -> None:
        """Note how it is with a message now."""
        text = msgspec.json.encode(line) + b"\n"
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            _write_all(self._file, b"\n" + text if self._ends_mid_line else text)
            self._ends_mid_line = False
        except OSError as error:
            self._ends_mid_line = True
            log.warning("what is not sent yet cannot be kept in %s: %s", self._path, error.strerror)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _compact(self, lines: Iterable[JournalEntry]) -> None:
        draft = self._path.with_suffix(".new")
        try:
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                _write_all(file, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
                os.fsync(file)
            finally:
                os.close(file)
            draft.replace(self._path)
        except OSError as error:  # then it stays as long as it is
            self._ends_mid_line = True
            log.warning("%s cannot be tidied: %s", self._path, error.strerror)


def _write_all(file: int, content: bytes) -> None:
    """A disk that gets full takes a part without a word."""
    while content:
        content = content[os.write(file, content) :]
