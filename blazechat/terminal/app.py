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
from blazechat.client.server_url import DEFAULT, server_url
from blazechat.terminal import slash_commands
from blazechat.terminal.accounts import DEVICE, Account, Accounts
from blazechat.terminal.drafts import Drafts
from blazechat.terminal.outbox_lock import free_outbox
from blazechat.terminal.screens.chat import ChatScreen
from blazechat.terminal.screens.dialogs import Ask
from blazechat.terminal.screens.login import LoginScreen

PATIENCE = 3.0
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
        self._settings = accounts.settings()
        self._url = server_url(url) if url else None
        self._name = name
        self._client: Client | None = None

    def on_mount(self) -> None:
        if self._settings.theme in self.available_themes:
            self.theme = self._settings.theme
        self.theme_changed_signal.subscribe(self, lambda theme: self._remember(theme=theme.name))
        account = self._accounts.find(self._name, self._url)
        if account is not None:
            self.enter(account)
        else:
            name = (self._name or "").partition("@")[0]
            self._ask(self._url or DEFAULT, name, choose=self._url is None and not self._name)

    @work(exclusive=True, group="account")
    async def enter(self, account: Account) -> None:
        """Chat as somebody who is remembered."""
        await self._leave()
        vault = self._accounts.vault(account.url, account)
        place = self._accounts.place(account)
        client = Client(
            account.url, vault=vault, outbox=free_outbox(place), patience=PATIENCE, device=DEVICE
        )
        self._client = client
        login = await vault.load()
        if login is None:
            self._ask(account.url, account.username, "Log in again: nothing is remembered of this account.")
            return
        self._accounts.note(login)
        await client.resume()
        if self.owns_process:
            gc.collect()
            gc.freeze()  # what is there stays; to look through it again would hold up the keyboard
        await self._show(ChatScreen(client, Drafts(place / "drafts.json"), lambda: self._settings.notify))

    def on_login_screen_logged_in(self, event: LoginScreen.LoggedIn) -> None:
        self.enter(event.account)

    @work(exclusive=True, group="account")
    async def on_chat_screen_ended(self, event: ChatScreen.Ended) -> None:
        login = self._client.login if self._client else None
        await self._leave()
        url, username = (login.url, login.username) if login else (DEFAULT, "")
        self._ask(url, username, event.reason)

    @work(exclusive=True, group="account")
    async def change_account(self) -> None:
        """To the list of accounts, and the way in to another server."""
        url = self._client.url if self._client else DEFAULT
        await self._leave()
        self._ask(url)

    @work(exclusive=True, group="account")
    async def log_out(self) -> None:
        client = self._client
        self._keep_draft()
        await (
            self._clear()
        )  # first, so that the screen does not take it for a session that was ended elsewhere
        if client is not None:
            await client.log_out()
        await self._leave()
        self._ask(client.url if client else DEFAULT)

    def set_calls(self, calls: bool) -> None:
        self._remember(notify=calls)
        self.notify("You are called for mentions and direct messages." if calls else "It stays quiet.")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """For the command palette: ours first."""
        if isinstance(screen, ChatScreen):
            for command in slash_commands.COMMANDS:
                yield SystemCommand(
                    f"/{command.name}",
                    command.help[0].upper() + command.help[1:],
                    lambda c=command: self._begin(c),
                )
        yield from super().get_system_commands(screen)

    def on_app_focus(self) -> None:
        self._look(True)

    def on_app_blur(self) -> None:
        self._look(False)

    async def action_quit(self) -> None:
        self._keep_draft()
        self.exit()

    async def on_unmount(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _begin(self, command: slash_commands.Command) -> None:
        """Do it, or have it written in the composer, where more has to be said."""
        screen = self.screen
        if isinstance(screen, ChatScreen):
            if command.usage and not command.usage.startswith("["):
                question = Ask(f"/{command.name} {command.usage}: {command.help}", command.usage)
                self.push_screen(
                    question, lambda rest: screen.deeds.run(command.name, rest) if rest else None
                )
            else:
                screen.deeds.run(command.name)

    def _ask(self, url: str, username: str = "", reason: str = "", *, choose: bool = True) -> None:
        screen = LoginScreen(self._accounts, url, username, reason, choose=choose)
        self.run_worker(partial(self._show, screen))  # type: ignore[arg-type]

    async def _show(self, screen: Screen[None]) -> None:
        """In place of whatever was shown."""
        await self._clear()
        await self.push_screen(screen)

    async def _clear(self) -> None:
        while len(self.screen_stack) > 1:
            await self.pop_screen()

    async def _leave(self) -> None:
        self._keep_draft()
        client, self._client = self._client, None
        if client is not None:
            closing = asyncio.create_task(client.close())  # to its end, even if something else comes up
            await self._clear()
            await asyncio.shield(closing)

    def _look(self, has_focus: bool) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ChatScreen):
                screen.look(has_focus)

    def _keep_draft(self) -> None:
        if isinstance(self.screen, ChatScreen):
            self.screen.keep_draft()

    def _remember(self, **changes: object) -> None:
        changed = msgspec.structs.replace(self._settings, **changes)
        if changed != self._settings:
            self._settings = changed
            try:
                self._accounts.set(changed)
            except OSError as error:
                self.notify(f"This cannot be remembered: {error}.", severity="warning", markup=False)


def _know_alt_enter() -> None:
    """Terminals without the kitty protocol, tmux among them, send ESC CR for Alt+Enter.

    Textual takes that for Enter, which would send what is to get another line.
    """
    table = cast("dict[str, object]", ANSI_SEQUENCES_KEYS)
    table["\x1b\r"] = table["\x1b\n"] = (Keys.ControlJ,)


def run(url: str | None, name: str | None) -> None:
    """Chat until one leaves."""
    _know_alt_enter()
    app = ChatApp(Accounts(), url, name)
    app.owns_process = True
    app.run()
