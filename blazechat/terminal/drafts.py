"""What one has begun to write, chat by chat, kept through the end of the program."""

from pathlib import Path

import filelock
import msgspec

from blazechat.terminal.accounts import read_file, write_file


class Drafts:
    """Texts by chat id. Other programs may write to the same file: each changes only what it knows of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts = read_file(path, dict[int, str]) or {}
        self._changed: set[int] = set()
        self._is_error_reported = False

    def get(self, chat_id: int) -> str:
        return self._texts.get(chat_id, "")

    def set(self, chat_id: int, text: str) -> None:
        if text == self.get(chat_id):
            return
        self._changed.add(chat_id)
        if text.strip():
            self._texts[chat_id] = text
        else:
            self._texts.pop(chat_id, None)

    def save(self) -> str | None:
        """Write what has changed. If that cannot be done: why, the first time."""
        if not self._changed:
            return None
        try:
            with filelock.FileLock(self._path.with_suffix(".lock"), timeout=1):
                kept = read_file(self._path, dict[int, str]) or {}
                for chat_id in self._changed:
                    kept.pop(chat_id, None)
                    if chat_id in self._texts:
                        kept[chat_id] = self._texts[chat_id]
                write_file(self._path, kept)
        except (OSError, msgspec.MsgspecError) as error:
            was_told, self._is_error_reported = self._is_error_reported, True
            return None if was_told else str(error)
        self._changed.clear()
        self._is_error_reported = False
        return None
