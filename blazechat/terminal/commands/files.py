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

OPENERS_BY_PLATFORM = {"darwin": "open"}
"""Of other systems it is xdg-open; Windows has a call for it."""
SAFE_TYPES = re.compile(r"(image|audio|video)/.*|text/plain|application/pdf")
MAX_NAME_BYTES = 180
"""Bytes, so that a number still fits behind it."""
MAX_SUFFIX_BYTES = 20


class FileCommands(ScreenCommands):
    async def send(self, rest: str) -> None:
        chat = self.require_chat()
        path, caption = _split_path(rest)
        if path is None:
            raise slash_commands.usage_error("send")
        _require_file(path)
        reply_to = self.screen.replying.id if self.screen.replying is not None else None
        self.screen.cancel_edit()

        async def send() -> None:
            with self.screen.transfers.track(f"Sending {sanitize.line(path.name)}") as tell:
                upload = await self.client.files.upload(path, on_progress=tell)
            self.client.enqueue(chat.id, caption, reply_to=reply_to, attachments=[upload.id])

        self._run_transfer(send, f"{path.name} was not sent")

    async def cancel(self, rest: str) -> None:
        if not self.screen.transfers.cancel():
            raise CommandRefused("No file is on its way.")
        self.screen.show_toast("Stopped; nothing of it is left.")

    async def open(self, rest: str) -> None:
        await self.show(self.target_message_with_files())

    async def save(self, rest: str) -> None:
        attachment = await self._choose_attachment(self.target_message_with_files())
        if attachment is not None:
            self._save(attachment, _expand_home(rest) if rest else _downloads_folder())

    async def show(self, message: Message) -> None:
        """A picture here, anything else in the program that the machine has for it."""
        attachment = await self._choose_attachment(message)
        if attachment is None:
            return
        if not attachment.thumbnails:
            await self._open_externally(attachment)
            return
        content = await self.client.files.download(attachment.thumbnails[-1].url)
        title = attachment_lines.line(attachment, self.screen.size.width)
        wanted = await self.screen.app.push_screen_wait(Picture(content, title))
        if wanted == "save":
            self._save(attachment, _downloads_folder())
        elif wanted == "open":
            await self._open_externally(attachment)

    def target_message_with_files(self) -> Message:
        """The chosen message, else the last one that has files."""
        chosen = self.target_message()
        if chosen.attachments or self.screen.message_list.selected is not None:
            return chosen
        for message in reversed(self.require_chat().ordered_messages()):
            if message.attachments:
                return message
        return chosen

    async def _choose_attachment(self, message: Message) -> Attachment | None:
        found = message.attachments
        if not found:
            raise CommandRefused("This message has no files.")
        if len(found) == 1:
            return found[0]
        choices = [Choice(str(at), attachment_lines.line(each, 60)) for at, each in enumerate(found)]
        chosen = await self.choose("Which file?", choices)
        return found[int(chosen)] if chosen is not None else None

    def _save(self, attachment: Attachment, where: Path) -> None:
        async def save() -> None:
            path = await asyncio.to_thread(_reserve_path, attachment, where)
            try:
                with self.screen.transfers.track(f"Loading {sanitize.line(attachment.name)}") as tell:
                    await self.client.files.download(attachment, path, on_progress=tell)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self.screen.show_toast(f"Saved as {path}", timeout=8)

        self._run_transfer(save, f"{attachment.name} was not saved")

    async def _open_externally(self, attachment: Attachment) -> None:
        if not SAFE_TYPES.fullmatch(attachment.media_type):
            name = sanitize.line(attachment.name)
            if not await self.confirm(
                f"Open “{name}”? It may be a program, and came from elsewhere.", "Open"
            ):
                return

        async def open_it() -> None:
            folder = Path(tempfile.mkdtemp(prefix="blazechat-"))
            path = folder / _safe_name(attachment.name)
            with self.screen.transfers.track(f"Loading {sanitize.line(attachment.name)}") as tell:
                await self.client.files.download(attachment, path, on_progress=tell)
            await asyncio.to_thread(_open_with_system, path)

        self._run_transfer(open_it, f"{attachment.name} was not opened")

    def _run_transfer(self, work: Callable[[], Awaitable[None]], otherwise: str) -> None:
        self.screen.run_in_background(partial(self._report_errors, work, otherwise), group="transfer")

    async def _report_errors(self, work: Callable[[], Awaitable[None]], otherwise: str) -> None:
        try:
            await work()
        except (BlazeChatError, OSError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            self.screen.show_toast(f"{otherwise}: {reason}", severity="error", timeout=10)


def _split_path(text: str) -> tuple[Path | None, str]:
    """A path, in quotes or with its spaces escaped as terminals paste it, and what follows."""
    text = text.strip()
    if text[:1] in ("'", '"') and text.find(text[0], 1) > 0:
        name, _, rest = text[1:].partition(text[0])
        return _expand_home(name), rest.strip()
    name, at = "", 0
    while at < len(text) and not text[at].isspace():
        at += text[at] == "\\" and at + 1 < len(text)
        name, at = name + text[at], at + 1
    return (_expand_home(name) if name else None), text[at:].strip()


def _expand_home(name: str) -> Path:
    return Path(name).expanduser()


def _require_file(path: Path) -> None:
    if not path.exists():
        raise CommandRefused(f"There is no file {path}. A name with spaces goes in quotes.")
    if not path.is_file():
        raise CommandRefused(f"{path} is not a file.")


def _safe_name(name: str) -> str:
    """The name of somebody else's file, as one of ours: no folders, not hidden, nothing that steers."""
    kept = "".join(c for c in sanitize.for_input(name) if c not in '/\\:*?"<>|\n').strip(". ")
    stem, dot, ending = kept.rpartition(".")
    ending = f"{dot}{ending}" if stem and len(ending.encode()) < MAX_SUFFIX_BYTES else ""
    room = MAX_NAME_BYTES - len(ending.encode())
    stem = kept.removesuffix(ending).encode()[:room].decode(errors="ignore")
    return f"{stem}{ending}".strip(". ") or "file"


def _reserve_path(attachment: Attachment, where: Path) -> Path:
    """A path in that folder, or of that name, or one like it that is not taken; from now on it is."""
    path = where / _safe_name(attachment.name) if where.is_dir() else where
    found, number = path, 1
    while True:
        try:
            found.touch(exist_ok=False)
        except FileExistsError:
            found, number = path.with_name(f"{path.stem} ({number}){path.suffix}"), number + 1
        else:
            return found


def _downloads_folder() -> Path:
    folder = Path.home() / "Downloads"
    return folder if folder.is_dir() else Path.cwd()


def _open_with_system(path: Path) -> None:
    """In the program that the machine has for such files. Raises OSError where there is none."""
    if sys.platform == "win32":
        os.startfile(path)  # noqa: S606 (whoever opens it was asked)
        return
    opener = OPENERS_BY_PLATFORM.get(sys.platform, "xdg-open")
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
