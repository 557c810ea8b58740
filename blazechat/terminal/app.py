"""The app: who is logged in, which screen is shown, and what is remembered of how one likes it."""

import asyncio
import gc
from collections.abc import Iterable
from functools import partial
from typing import ClassVar, cast

import msgspec
from textual import work
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.app import App, SystemCommand
from textual.keys import Keys
from textual.screen import Screen

from blazechat.client import Client
from blazechat.client.server_url import DEFAULT_URL, server_url
from blazechat.terminal import slash_commands
from blazechat.terminal.accounts import DEVICE_NAME, SavedAccount, Accounts
from blazechat.terminal.drafts import Drafts
from blazechat.terminal.outbox_lock import claim_outbox
from blazechat.terminal.screens.chat import ChatScreen
from blazechat.terminal.screens.dialogs import Prompt
from blazechat.terminal.screens.login import LoginScreen

RETRY_SECONDS = 3.0
"""Seconds for which a request is tried again, while somebody waits for it."""


class ChatApp(App[None]):
    """`url` is the server to begin with, `name` the account; the last used without them."""

    TITLE = "BlazeChat"
    ENABLE_COMMAND_PALETTE = True
    owns_process = False  # whether nothing else runs in it
    CSS: ClassVar[str] = "Toast { max-width: 80%; }"

    def __init__(self, accounts: Accounts, url: str | None = None, name: str | None = None) -> None:
        super().__init__()
        self._accounts = accounts
        self._preferences = accounts.preferences()
        self._url = server_url(url) if url else None
        self._account_name = name
        self._client: Client | None = None

    def on_mount(self) -> None:
        if self._preferences.theme in self.available_themes:
            self.theme = self._preferences.theme
        self.theme_changed_signal.subscribe(self, lambda theme: self._save_preferences(theme=theme.name))
        account = self._accounts.find(self._account_name, self._url)
        if account is not None:
            self.open_account(account)
        else:
            name = (self._account_name or "").partition("@")[0]
            self._show_login(self._url or DEFAULT_URL, name, choose=self._url is None and not self._account_name)

    @work(exclusive=True, group="account")
    async def open_account(self, account: SavedAccount) -> None:
        """Chat as somebody who is remembered."""
        await self._close_client()
        vault = self._accounts.vault(account.url, account)
        place = self._accounts.folder_of(account)
        client = Client(
            account.url, vault=vault, outbox_path=claim_outbox(place), retry_seconds=RETRY_SECONDS, device=DEVICE_NAME
        )
        self._client = client
        login = await vault.load()
        if login is None:
            self._show_login(account.url, account.username, "Log in again: nothing is remembered of this account.")
            return
        self._accounts.save_login(login)
        await client.restore_login()
        if self.owns_process:
            gc.collect()
            gc.freeze()  # what is there stays; to look through it again would hold up the keyboard
        await self._replace_screens(ChatScreen(client, Drafts(place / "drafts.json"), lambda: self._preferences.notify))

    def on_login_screen_logged_in(self, event: LoginScreen.LoggedIn) -> None:
        self.open_account(event.account)

    @work(exclusive=True, group="account")
    async def on_chat_screen_ended(self, event: ChatScreen.SessionOver) -> None:
        login = self._client.login if self._client else None
        await self._close_client()
        url, username = (login.url, login.username) if login else (DEFAULT_URL, "")
        self._show_login(url, username, event.reason)

    @work(exclusive=True, group="account")
    async def change_account(self) -> None:
        """To the list of accounts, and the way in to another server."""
        url = self._client.url if self._client else DEFAULT_URL
        await self._close_client()
        self._show_login(url)

    @work(exclusive=True, group="account")
    async def log_out(self) -> None:
        client = self._client
        self._save_draft()
        await (
            self._close_screens()
        )  # first, so that the screen does not take it for a session that was ended elsewhere
        if client is not None:
            await client.log_out()
        await self._close_client()
        self._show_login(client.url if client else DEFAULT_URL)

    def set_notify(self, calls: bool) -> None:
        self._save_preferences(notify=calls)
        self.notify("You are called for mentions and direct messages." if calls else "It stays quiet.")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """For the command palette: ours first."""
        if isinstance(screen, ChatScreen):
            for command in slash_commands.COMMANDS:
                yield SystemCommand(
                    f"/{command.name}",
                    command.help[0].upper() + command.help[1:],
                    lambda c=command: self._run_command(c),
                )
        yield from super().get_system_commands(screen)

    def on_app_focus(self) -> None:
        self._pass_focus(True)

    def on_app_blur(self) -> None:
        self._pass_focus(False)

    async def action_quit(self) -> None:
        self._save_draft()
        self.exit()

    async def on_unmount(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _run_command(self, command: slash_commands.SlashCommandHelp) -> None:
        """Do it, or have it written in the composer, where more has to be said."""
        screen = self.screen
        if isinstance(screen, ChatScreen):
            if command.usage and not command.usage.startswith("["):
                question = Prompt(f"/{command.name} {command.usage}: {command.help}", command.usage)
                self.push_screen(
                    question, lambda rest: screen.dispatcher.run(command.name, rest) if rest else None
                )
            else:
                screen.dispatcher.run(command.name)

    def _show_login(self, url: str, username: str = "", reason: str = "", *, choose: bool = True) -> None:
        screen = LoginScreen(self._accounts, url, username, reason, choose=choose)
        self.run_worker(partial(self._replace_screens, screen))  # type: ignore[arg-type]

    async def _replace_screens(self, screen: Screen[None]) -> None:
        """In place of whatever was shown."""
        await self._close_screens()
        await self.push_screen(screen)

    async def _close_screens(self) -> None:
        while len(self.screen_stack) > 1:
            await self.pop_screen()

    async def _close_client(self) -> None:
        self._save_draft()
        client, self._client = self._client, None
        if client is not None:
            closing = asyncio.create_task(client.close())  # to its end, even if something else comes up
            await self._close_screens()
            await asyncio.shield(closing)

    def _pass_focus(self, has_focus: bool) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ChatScreen):
                screen.set_terminal_focus(has_focus)

    def _save_draft(self) -> None:
        if isinstance(self.screen, ChatScreen):
            self.screen.save_draft()

    def _save_preferences(self, **changes: object) -> None:
        changed = msgspec.structs.replace(self._preferences, **changes)
        if changed != self._preferences:
            self._preferences = changed
            try:
                self._accounts.save_preferences(changed)
            except OSError as error:
                self.notify(f"This cannot be remembered: {error}.", severity="warning", markup=False)


def _map_alt_enter() -> None:
    """Terminals without the kitty protocol, tmux among them, send ESC CR for Alt+Enter.

    Textual takes that for Enter, which would send what is to get another line.
    """
    table = cast("dict[str, object]", ANSI_SEQUENCES_KEYS)
    table["\x1b\r"] = table["\x1b\n"] = (Keys.ControlJ,)


def run(url: str | None, name: str | None) -> None:
    """Chat until one leaves."""
    _map_alt_enter()
    app = ChatApp(Accounts(), url, name)
    app.owns_process = True
    app.run()
