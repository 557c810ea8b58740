"""Stores the unsent text of each chat's composer in a file, so that it survives the end of the program."""

from pathlib import Path

import filelock
import msgspec

from blazechat.terminal.json_files import read_file, write_file

LOCK_TIMEOUT_SECONDS = 1


class Drafts:
    """Draft texts by chat id.

    Several programs can share the file: each of them writes only the drafts that it changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts = read_file(path, dict[int, str]) or {}
        self._changed: set[int] = set()
        self._is_error_reported = False

    def get(self, chat_id: int) -> str:
        """Return the draft of a chat, or an empty string."""
        return self._texts.get(chat_id, "")

    def set(self, chat_id: int, text: str) -> None:
        """Change the draft of a chat in memory; a blank text removes it. `save()` writes the file."""
        if text == self.get(chat_id):
            return
        self._changed.add(chat_id)
        if text.strip():
            self._texts[chat_id] = text
        else:
            self._texts.pop(chat_id, None)

    def save(self) -> str | None:
        """Write the changed drafts. Return the reason if this fails for the first time, else None."""
        if not self._changed:
            return None
        try:
            with filelock.FileLock(self._path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_SECONDS):
                saved = read_file(self._path, dict[int, str]) or {}
                for chat_id in self._changed:
                    saved.pop(chat_id, None)
                    if chat_id in self._texts:
                        saved[chat_id] = self._texts[chat_id]
                write_file(self._path, saved)
        except (OSError, msgspec.MsgspecError) as error:
            was_reported, self._is_error_reported = self._is_error_reported, True
            return None if was_reported else str(error)
        self._changed.clear()
        self._is_error_reported = False
        return None
