"""Opens links of messages in the system's program for them, or copies them where there is none."""

import asyncio

from blazechat.terminal import local_files
from blazechat.terminal.commands.view import ChatView
from blazechat.terminal.markdown import urls


async def open_url(view: ChatView, url: str) -> None:
    """Open a URL of the web, or write a mail to an address. On a machine without a desktop, copy it."""
    if not urls.is_allowed(url):
        return
    is_opened = await asyncio.to_thread(local_files.open_url, url)
    if is_opened:
        view.show_notice(f"Opened {urls.host_of(url)}.")
    else:
        view.app.copy_to_clipboard(url)
        view.show_notice(f"This machine has no browser. Copied: {url}")
