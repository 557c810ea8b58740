"""What one has begun to write, chat by chat, kept through the end of the program."""

from pathlib import Path

import msgspec

from blazechat.terminal.accounts import write_file


class Unsent:
    """Texts by chat id. `save()` writes what has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        try:
            self._texts = msgspec.json.decode(path.read_bytes(), type=dict[int, str])
        except (FileNotFoundError, msgspec.MsgspecError):
            self._texts = {}

    def of(self, chat_id: int) -> str:
        return self._texts.get(chat_id, "")

    def set(self, chat_id: int, text: str) -> None:
        if text == self.of(chat_id):
            return
        self._changed = True
        if text.strip():
            self._texts[chat_id] = text
        else:
            self._texts.pop(chat_id, None)

    def save(self) -> None:
        if self._changed:
            self._changed = False
            write_file(self._path, self._texts)
