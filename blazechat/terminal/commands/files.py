"""Commands about files: send, open and save them, and cancel transfers."""

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from blazechat.client import Attachment, BlazeChatError, Message
from blazechat.terminal import attachment_lines, local_files, sanitize, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands
from blazechat.terminal.screens.dialogs import Choice
from blazechat.terminal.screens.image_viewer import ImageViewer

SAFE_TYPES = re.compile(r"(image|audio|video)/.*|text/plain|application/pdf")
"""Media types that are opened without confirmation."""
CHOICE_COLUMNS = 60


class FileCommands(ScreenCommands):
    async def send(self, arguments: str) -> None:
        chat = self.require_chat()
        path, caption = local_files.split_path(arguments)
        if path is None:
            raise slash_commands.usage_error("send")
        _require_file(path)
        entry = self.view.entry
        reply_to = entry.reply_target.id if entry.reply_target is not None else None
        entry.cancel()

        async def send() -> None:
            with self.view.transfers.track(f"Sending {sanitize.line(path.name)}") as on_progress:
                upload = await self.client.files.upload(path, on_progress=on_progress)
            self.client.enqueue(chat.id, caption, reply_to=reply_to, attachments=[upload.id])

        self._run_transfer(send, f"{path.name} was not sent")

    async def cancel(self, arguments: str) -> None:
        if not self.view.transfers.cancel():
            raise CommandRefused("No file is being sent or downloaded.")
        self.view.show_notice("Cancelled. No partial file is left.")

    async def open(self, arguments: str) -> None:
        """Show an image in the terminal, open any other file in the system's program for its type."""
        attachment = await self._choose_attachment(self._target_message_with_files())
        if attachment is None:
            return
        if not attachment.thumbnails:
            await self._open_externally(attachment)
            return
        content = await self.client.files.download(attachment.thumbnails[-1].url)
        title = attachment_lines.line(attachment, self.view.size.width)
        next_action = await self.view.app.push_screen_wait(ImageViewer(content, title))
        if next_action == "save":
            self._save(attachment, local_files.download_target())
        elif next_action == "open":
            await self._open_externally(attachment)

    async def save(self, arguments: str) -> None:
        attachment = await self._choose_attachment(self._target_message_with_files())
        if attachment is not None:
            self._save(attachment, local_files.download_target(arguments))

    def _target_message_with_files(self) -> Message:
        """Return the selected message, or the last one that has files, or the last one."""
        message = self.target_message()
        if message.attachments or self.view.message_list.selected is not None:
            return message
        for older in reversed(self.require_chat().ordered_messages()):
            if older.attachments:
                return older
        return message

    async def _choose_attachment(self, message: Message) -> Attachment | None:
        """Return the attachment, or ask which one; None if the user closes the list."""
        attachments = message.attachments
        if not attachments:
            raise CommandRefused("This message has no files.")
        if len(attachments) == 1:
            return attachments[0]
        choices = [
            Choice(str(index), attachment_lines.line(attachment, CHOICE_COLUMNS))
            for index, attachment in enumerate(attachments)
        ]
        selected = await self.choose("Which file?", choices)
        return attachments[int(selected)] if selected is not None else None

    def _save(self, attachment: Attachment, target: Path) -> None:
        async def save() -> None:
            path = await asyncio.to_thread(local_files.reserve_path, attachment.name, target)
            try:
                await self._download(attachment, path)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self.view.show_notice(f"Saved as {path}")

        self._run_transfer(save, f"{attachment.name} was not saved")

    async def _open_externally(self, attachment: Attachment) -> None:
        if not SAFE_TYPES.fullmatch(attachment.media_type):
            question = f"Open “{sanitize.line(attachment.name)}”? It might be a harmful program."
            if not await self.confirm(question, "Open"):
                return

        async def open_file() -> None:
            folder = Path(tempfile.mkdtemp(prefix="blazechat-"))
            path = folder / local_files.safe_name(attachment.name)
            await self._download(attachment, path)
            await asyncio.to_thread(local_files.open_with_system, path)

        self._run_transfer(open_file, f"{attachment.name} was not opened")

    async def _download(self, attachment: Attachment, path: Path) -> None:
        with self.view.transfers.track(f"Downloading {sanitize.line(attachment.name)}") as on_progress:
            await self.client.files.download(attachment, path, on_progress=on_progress)

    def _run_transfer(self, work: Callable[[], Awaitable[None]], failure: str) -> None:
        self.view.run_in_background(partial(self._report_errors, work, failure), group="transfer")

    async def _report_errors(self, work: Callable[[], Awaitable[None]], failure: str) -> None:
        try:
            await work()
        except (BlazeChatError, OSError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            self.view.show_notice(f"{failure}: {reason}", severity="error")


def _require_file(path: Path) -> None:
    if not path.exists():
        raise CommandRefused(f"There is no file {path}. Put a name with spaces in quotes.")
    if not path.is_file():
        raise CommandRefused(f"{path} is not a file.")
