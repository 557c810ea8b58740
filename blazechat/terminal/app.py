"""The terminal app: owns the client and the screens, and saves the preferences."""

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import ClassVar, cast

import msgspec
from rich.segment import Segments
from rich.text import Text
from rich.traceback import Traceback
from textual import work
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.keys import Keys
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widgets import Input, TextArea

from blazechat.client import Client
from blazechat.client.server_url import DEFAULT_URL, server_url
from blazechat.terminal import slash_commands
from blazechat.terminal.accounts import DEVICE_NAME, SavedAccount, SavedAccounts
from blazechat.terminal.deletions import UNDO_SECONDS, Deletions
from blazechat.terminal.drafts import Drafts
from blazechat.terminal.outbox_lock import claim_outbox
from blazechat.terminal.screens.chat import ChatScreen
from blazechat.terminal.screens.dialogs import Prompt
from blazechat.terminal.screens.login import RETRY_SECONDS, LoginScreen
from blazechat.terminal.usage_counts import UsageCounts
from blazechat.terminal.widgets.notice_line import NoticeLine

QUIT_KEY_SECONDS = 2.0
"""A second Ctrl+C within this time quits."""


class ChatApp(App[None]):
    """The app; implements `commands.view.AppActions`.

    It opens the last used account that matches `url` and `account_name`, or the login screen.
    """

    TITLE = "BlazeChat"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "copy_or_quit", show=False, priority=True, system=True)
    ]
    owns_process = False
    """True if nothing else runs in this process, so that the app may change its garbage collection."""

    def __init__(
        self,
        accounts: SavedAccounts,
        url: str | None = None,
        account_name: str | None = None,
        undo_seconds: float = UNDO_SECONDS,
    ) -> None:
        super().__init__()
        self._accounts = accounts
        self._preferences = accounts.preferences()
        self._url = server_url(url) if url else None
        self._account_name = account_name
        self.usage = UsageCounts(accounts.folder / "usage.json")
        self._undo_seconds = undo_seconds
        self._interrupted_at = float("-inf")
        self._client: Client | None = None
        self._deletions: Deletions | None = None

    def on_mount(self) -> None:
        if self._preferences.theme in self.available_themes:
            self.theme = self._preferences.theme
        self.theme_changed_signal.subscribe(self, lambda theme: self._save_preferences(theme=theme.name))
        account = self._accounts.find(self._account_name, self._url)
        if account is not None:
            self.open_account(account)
        else:
            username = (self._account_name or "").partition("@")[0]
            has_choice = self._url is None and not self._account_name
            self._show_login(self._url or DEFAULT_URL, username, offer_saved=has_choice)

    @work(exclusive=True, group="account")
    async def open_account(self, account: SavedAccount) -> None:
        """Show the chat screen of a saved account; if that is not possible, the login screen."""
        await self._close_client()
        try:
            await self._open(account)
        except OSError as error:
            reason = f"The files of this account cannot be written: {error}."
            await self._close_client()
            self._show_login(account.url, account.username, reason)

    async def _open(self, account: SavedAccount) -> None:
        """Show the chat screen, or the login screen if the login is missing. Raises OSError."""
        vault = self._accounts.vault(account.url, account)
        folder = self._accounts.folder_of(account)
        client = Client(
            account.url,
            vault=vault,
            outbox_path=claim_outbox(folder),
            retry_seconds=RETRY_SECONDS,
            device=DEVICE_NAME,
        )
        self._client = client
        login = await vault.load()
        if login is None:
            reason = "Log in again: the saved login of this account is missing."
            self._show_login(account.url, account.username, reason)
            return
        self._accounts.save_login(login)
        await client.restore_login()
        if self.owns_process:
            gc.collect()
            gc.freeze()  # permanent objects are not scanned again, since a scan would delay keys
        self._deletions = Deletions(client.messages.delete, self._undo_seconds)
        drafts = Drafts(folder / "drafts.json")
        await self._replace_screens(ChatScreen(client, drafts, self._deletions, self))

    def on_login_screen_logged_in(self, event: LoginScreen.LoggedIn) -> None:
        self.open_account(event.account)

    @work(exclusive=True, group="account")
    async def on_chat_screen_session_over(self, event: ChatScreen.SessionOver) -> None:
        login = self._client.login if self._client else None
        failure = await self._close_client()
        url, username = (login.url, login.username) if login else (DEFAULT_URL, "")
        self._show_login(url, username, f"{event.reason} {failure}".strip())

    @work(exclusive=True, group="account")
    async def change_account(self) -> None:
        url = self._client.url if self._client else DEFAULT_URL
        self._show_login(url, reason=await self._close_client())

    @work(exclusive=True, group="account")
    async def log_out(self) -> None:
        client = self._client
        self._save_draft()
        failure = await self._finish_deletions()
        # The screen closes first. Otherwise it would report that the session has ended.
        await self._close_screens()
        if client is not None:
            try:
                await client.log_out()
            except OSError as error:
                failure = f"{failure} Your login cannot be deleted here: {error}.".strip()
        await self._close_client()
        self._show_login(client.url if client else DEFAULT_URL, reason=failure)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show a notice of the app or of Textual in the line of notices. There are no toasts."""
        text = Content.from_markup(message).plain if markup else message
        lines = [line for screen in self.screen_stack for line in screen.query(NoticeLine)]
        for line in lines:  # one; none while a screen closes
            line.show(f"{title}: {text}" if title else text, severity)

    @property
    def notifies(self) -> bool:
        return self._preferences.notify

    def set_notify(self, notify: bool) -> None:
        self._save_preferences(notify=notify)
        self.notify(
            "Notifications of mentions and direct messages are on." if notify else "Notifications are off."
        )

    @property
    def text_columns(self) -> int:
        return self._preferences.width

    def set_text_columns(self, columns: int) -> None:
        self._save_preferences(width=columns)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield the entries of the command palette: the slash commands, then Textual's."""
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

    async def action_copy_or_quit(self) -> None:
        """Copy the selected text. Without one, say how to quit; the second time, quit."""
        if self._copy_selected_text():
            return
        now = time.monotonic()
        if now - self._interrupted_at < QUIT_KEY_SECONDS:
            await self.action_quit()
            return
        self._interrupted_at = now
        self.notify("Ctrl+Q quits, and so does a second Ctrl+C.", severity="warning", markup=False)

    def _copy_selected_text(self) -> bool:
        """Copy what is selected in the field with the focus, or with the mouse. False if nothing is."""
        field = self.focused
        text = ""
        if isinstance(field, TextArea) or (isinstance(field, Input) and not field.password):
            text = field.selected_text
        text = text or self.screen.get_selected_text() or ""
        if text:
            self.copy_to_clipboard(text)
            self.notify("Copied.")
        return bool(text)

    async def action_quit(self) -> None:
        self._save_draft()
        failure = await self._finish_deletions()
        self.exit(message=Text(failure) if failure else None)

    async def on_unmount(self) -> None:
        await self._finish_deletions()
        if self._client is not None:
            await self._client.close()

    def _fatal_error(self) -> None:
        """End the app after an unexpected error. Textual's traceback would show passwords and tokens."""
        traceback = Traceback(show_locals=False)
        self._exit_renderables.append(Segments(self.console.render(traceback, self.console.options)))
        self._close_messages_no_wait()

    def _run_command(self, command: slash_commands.CommandHelp) -> None:
        """Run a command of the palette. Ask for its arguments first if they are required."""
        screen = self.screen
        if not isinstance(screen, ChatScreen):
            return
        dispatcher = screen.dispatcher
        if not command.usage or command.usage.startswith("["):
            dispatcher.run(command.name)
            return

        def run(arguments: str | None) -> None:
            if arguments:
                dispatcher.run(command.name, arguments)

        question = f"/{command.name} {command.usage}: {command.help}"
        self.push_screen(Prompt(question, command.usage), run)

    def _show_login(
        self, url: str, username: str = "", reason: str = "", *, offer_saved: bool = True
    ) -> None:
        screen = LoginScreen(self._accounts, url, username, reason, offer_saved=offer_saved)
        show: Callable[[], Awaitable[None]] = partial(self._replace_screens, screen)
        self.run_worker(show)

    async def _replace_screens(self, screen: Screen[None]) -> None:
        await self._close_screens()
        await self.push_screen(screen)

    async def _close_screens(self) -> None:
        while len(self.screen_stack) > 1:
            await self.pop_screen()

    async def _close_client(self) -> str:
        """Close the screens and the client. Returns why some deletions failed, or an empty string."""
        self._save_draft()
        failure = await self._finish_deletions()
        client, self._client = self._client, None
        if client is not None:
            # Its own task: the client closes completely, also if this worker is cancelled by another one.
            closing = asyncio.create_task(client.close())
            await self._close_screens()
            await asyncio.shield(closing)
        return failure

    async def _finish_deletions(self) -> str:
        """Send the deletions whose delay has not passed. Returns why some failed, or an empty string."""
        deletions, self._deletions = self._deletions, None
        if deletions is None:
            return ""
        if deletions.has_outstanding:
            self.notify("Sending your deletions …")
        return await deletions.finish()

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
                self.notify(f"This setting cannot be saved: {error}.", severity="warning", markup=False)


def run_app(accounts: SavedAccounts, url: str | None, account_name: str | None) -> None:
    """Run the app until the user quits. Raises SystemExit after an unexpected error."""
    _map_alt_enter()
    app = ChatApp(accounts, url, account_name)
    app.owns_process = True
    app.run()
    if app.return_code:
        sys.exit(app.return_code)


def _map_alt_enter() -> None:
    """Make ESC CR start a line: terminals without the kitty protocol, such as tmux, send it for Alt+Enter.

    Textual reads it as Enter, which would send the message.
    """
    table = cast("dict[str, object]", ANSI_SEQUENCES_KEYS)
    table["\x1b\r"] = table["\x1b\n"] = (Keys.ControlJ,)
