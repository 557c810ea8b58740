"""Fills the welcome of an account without chats, and keeps it current until a chat is opened."""

import asyncio
import contextlib

from blazechat.client import BlazeChatError, ConnectionState, ServerInfo
from blazechat.terminal import labels
from blazechat.terminal.commands.view import ChatView
from blazechat.terminal.widgets.welcome import MAX_LISTED_USERS, WelcomeContent

RELOAD_SECONDS = 10.0
"""New accounts of other people appear after this time."""


class FirstSteps:
    """The welcome of one screen."""

    def __init__(self, view: ChatView) -> None:
        self._view = view
        self._client = view.client
        self._wake = asyncio.Event()
        self._info: ServerInfo | None = None

    def refresh(self) -> None:
        """Load the people now. Call it when the connection is back."""
        self._wake.set()

    async def run(self) -> None:
        """Show the welcome while the account has no chat."""
        while self._view.chat is None:
            self._wake.clear()
            if self._client.connection_state is ConnectionState.ONLINE and not self._client.state.chats:
                # The connection line shows the reason of an error, and the next round repeats this.
                with contextlib.suppress(BlazeChatError):
                    await self._load()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELOAD_SECONDS):
                    await self._wake.wait()

    async def _load(self) -> None:
        client = self._client
        if self._info is None:
            self._info = await client.server.info()
        users = await client.users.page(limit=MAX_LISTED_USERS + 1)
        people = [user for user in users if not user.is_bot and user.id != client.state.my_id]
        content = WelcomeContent(
            name=labels.of_user(client.me) if client.me is not None else "",
            people=people[:MAX_LISTED_USERS],
            has_more=len(users) > MAX_LISTED_USERS,
            info=self._info,
            is_admin=client.me is not None and client.me.is_admin,
        )
        if self._view.chat is None:
            self._view.welcome.show(content)
