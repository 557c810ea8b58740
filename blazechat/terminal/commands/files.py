"""What the commands about files do: sending, seeing, opening and saving them."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from blazechat.client import Attachment, BlazeChatError, Message
from blazechat.terminal import attachment_lines, sanitize, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands
from blazechat.terminal.screens.dialogs import Choice
from blazechat.terminal.widgets.picture import Picture

OPENERS = {"darwin": "open"}
"""Of other systems it is xdg-open; Windows has a call for it."""
HARMLESS = re.compile(r"(image|audio|video)/.*|text/plain|application/pdf")
LONGEST_NAME = 180
"""Bytes, so that a number still fits behind it."""
ENDING = 20


class FileCommands(ScreenCommands):
    async def send(self, rest: str) -> None:
        chat = self.the_chat()
        path, caption = _path_and_rest(rest)
        if path is None:
            raise slash_commands.usage("send")
        _require_file(path)
        reply_to = self.screen.replying.id if self.screen.replying is not None else None
        self.screen.stop_editing()

        async def send() -> None:
            with self.screen.transfers.begin(f"Sending {sanitize.line(path.name)}") as tell:
                upload = await self.client.files.upload(path, on_progress=tell)
            self.client.write(chat.id, caption, reply_to=reply_to, attachments=[upload.id])

        self._meanwhile(send, f"{path.name} was not sent")

    async def cancel(self, rest: str) -> None:
        if not self.screen.transfers.stop():
            raise CommandRefused("No file is on its way.")
        self.screen.say("Stopped; nothing of it is left.")

    async def open(self, rest: str) -> None:
        await self.show(self.the_message_with_files())

    async def save(self, rest: str) -> None:
        attachment = await self._which(self.the_message_with_files())
        if attachment is not None:
            self._save(attachment, _home(rest) if rest else _downloads())

    async def show(self, message: Message) -> None:
        """A picture here, anything else in the program that the machine has for it."""
        attachment = await self._which(message)
        if attachment is None:
            return
        if not attachment.thumbnails:
            await self._open_elsewhere(attachment)
            return
        content = await self.client.files.download(attachment.thumbnails[-1].url)
        title = attachment_lines.line(attachment, self.screen.size.width)
        wanted = await self.screen.app.push_screen_wait(Picture(content, title))
        if wanted == "save":
            self._save(attachment, _downloads())
        elif wanted == "open":
            await self._open_elsewhere(attachment)

    def the_message_with_files(self) -> Message:
        """The chosen message, else the last one that has files."""
        chosen = self.the_message()
        if chosen.attachments or self.screen.conversation.chosen is not None:
            return chosen
        for message in reversed(self.the_chat().ordered()):
            if message.attachments:
                return message
        return chosen

    async def _which(self, message: Message) -> Attachment | None:
        found = message.attachments
        if not found:
            raise CommandRefused("This message has no files.")
        if len(found) == 1:
            return found[0]
        choices = [Choice(str(at), attachment_lines.line(each, 60)) for at, each in enumerate(found)]
        chosen = await self.ask_which("Which file?", choices)
        return found[int(chosen)] if chosen is not None else None

    def _save(self, attachment: Attachment, where: Path) -> None:
        async def save() -> None:
            path = await asyncio.to_thread(_place_for, attachment, where)
            try:
                with self.screen.transfers.begin(f"Loading {sanitize.line(attachment.name)}") as tell:
                    await self.client.files.download(attachment, path, on_progress=tell)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self.screen.say(f"Saved as {path}", timeout=8)

        self._meanwhile(save, f"{attachment.name} was not saved")

    async def _open_elsewhere(self, attachment: Attachment) -> None:
        if not HARMLESS.fullmatch(attachment.media_type):
            name = sanitize.line(attachment.name)
            if not await self.is_sure(
                f"Open “{name}”? It may be a program, and came from elsewhere.", "Open"
            ):
                return

        async def open_it() -> None:
            folder = Path(tempfile.mkdtemp(prefix="blazechat-"))
            path = folder / _safe(attachment.name)
            with self.screen.transfers.begin(f"Loading {sanitize.line(attachment.name)}") as tell:
                await self.client.files.download(attachment, path, on_progress=tell)
            await asyncio.to_thread(_open, path)

        self._meanwhile(open_it, f"{attachment.name} was not opened")

    def _meanwhile(self, work: Callable[[], Awaitable[None]], otherwise: str) -> None:
        self.screen.background(partial(self._told, work, otherwise), group="transfer")

    async def _told(self, work: Callable[[], Awaitable[None]], otherwise: str) -> None:
        try:
            await work()
        except (BlazeChatError, OSError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            self.screen.say(f"{otherwise}: {reason}", severity="error", timeout=10)


def _path_and_rest(text: str) -> tuple[Path | None, str]:
    """A path, in quotes or with its spaces escaped as terminals paste it, and what follows."""
    text = text.strip()
    if text[:1] in ("'", '"') and text.find(text[0], 1) > 0:
        name, _, rest = text[1:].partition(text[0])
        return _home(name), rest.strip()
    name, at = "", 0
    while at < len(text) and not text[at].isspace():
        at += text[at] == "\\" and at + 1 < len(text)
        name, at = name + text[at], at + 1
    return (_home(name) if name else None), text[at:].strip()


def _home(name: str) -> Path:
    return Path(name).expanduser()


def _require_file(path: Path) -> None:
    if not path.exists():
        raise CommandRefused(f"There is no file {path}. A name with spaces goes in quotes.")
    if not path.is_file():
        raise CommandRefused(f"{path} is not a file.")


def _safe(name: str) -> str:
    """The name of somebody else's file, as one of ours: no folders, not hidden, nothing that steers."""
    kept = "".join(c for c in sanitize.typed(name) if c not in '/\\:*?"<>|\n').strip(". ")
    stem, dot, ending = kept.rpartition(".")
    ending = f"{dot}{ending}" if stem and len(ending.encode()) < ENDING else ""
    room = LONGEST_NAME - len(ending.encode())
    stem = kept.removesuffix(ending).encode()[:room].decode(errors="ignore")
    return f"{stem}{ending}".strip(". ") or "file"


def _place_for(attachment: Attachment, where: Path) -> Path:
    """A path in that folder, or of that name, or one like it that is not taken; from now on it is."""
    path = where / _safe(attachment.name) if where.is_dir() else where
    found, number = path, 1
    while True:
        try:
            found.touch(exist_ok=False)
        except FileExistsError:
            found, number = path.with_name(f"{path.stem} ({number}){path.suffix}"), number + 1
        else:
            return found


def _downloads() -> Path:
    folder = Path.home() / "Downloads"
    return folder if folder.is_dir() else Path.cwd()


def _open(path: Path) -> None:
    """In the program that the machine has for such files. Raises OSError where there is none."""
    if sys.platform == "win32":
        os.startfile(path)  # noqa: S606 (whoever opens it was asked)
        return
    opener = OPENERS.get(sys.platform, "xdg-open")
    try:
        done = subprocess.run(  # noqa: S603 (a program of the system, and no shell)
            [opener, str(path)], capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise OSError(0, f"this machine has no {opener}; it was saved as {path}") from None
    except subprocess.TimeoutExpired:
        return  # some of them stay
    if done.returncode:
        raise OSError(0, f"nothing opens such files here; it was saved as {path}")
