"""Commands about files and links: send, open and save files, cancel transfers, open links."""

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from rich.text import Text

from blazechat.client import Attachment, BlazeChatError, Message
from blazechat.terminal import attachment_lines, local_files, sanitize, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands
from blazechat.terminal.commands.links import open_url
from blazechat.terminal.markdown.document import urls_of
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
        """Open the file or the link of a message; ask which one if it has several."""
        message = self._target_message(lambda each: bool(each.attachments or urls_of(each.content)))
        links = urls_of(message.content)
        if not message.attachments and not links:
            raise CommandRefused("This message has no file and no link.")
        selected = await self._choose("Which one?" if links else "Which file?", message.attachments, links)
        if isinstance(selected, str):
            await open_url(self.view, selected)
        elif selected is not None:
            await self._open_attachment(selected)

    async def open_link(self, url: str) -> None:
        """Open a link that was clicked."""
        await open_url(self.view, url)

    async def _open_attachment(self, attachment: Attachment) -> None:
        """Show an image in the terminal, open any other file in the system's program for its type."""
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
        message = self._target_message(lambda each: bool(each.attachments))
        if not message.attachments:
            raise CommandRefused("This message has no files.")
        selected = await self._choose("Which file?", message.attachments)
        if isinstance(selected, Attachment):
            self._save(selected, local_files.download_target(arguments))

    def _target_message(self, matches: Callable[[Message], bool]) -> Message:
        """Return the selected message, or the last one that matches, or the last one."""
        message = self.target_message()
        if matches(message) or self.view.message_list.selected is not None:
            return message
        for older in reversed(self.require_chat().ordered_messages()):
            if matches(older):
                return older
        return message

    async def _choose(
        self, question: str, attachments: Sequence[Attachment], links: Sequence[str] = ()
    ) -> Attachment | str | None:
        """Return the attachment or the link, or ask which one; None if the user closes the list."""
        candidates: list[Attachment | str] = [*attachments, *links]
        if len(candidates) == 1:
            return candidates[0]
        lines = [
            Text(each, no_wrap=True, overflow="ellipsis")
            if isinstance(each, str)
            else attachment_lines.line(each, CHOICE_COLUMNS)
            for each in candidates
        ]
        choices = [Choice(str(index), line) for index, line in enumerate(lines)]
        selected = await self.choose(question, choices)
        return candidates[int(selected)] if selected is not None else None

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
