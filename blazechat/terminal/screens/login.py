"""The login screen: selects a saved account, logs in to a server, or creates an account."""

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message as TextualMessage
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Label, OptionList
from textual.widgets.option_list import Option

from blazechat.client import BlazeChatError, Client, InvalidServerUrl, server_url
from blazechat.client.errors import (
    ApiError,
    EmailTaken,
    InvitationInvalid,
    NotBlazeChat,
    Unreachable,
    UsernameTaken,
    WrongCredentials,
)
from blazechat.terminal import sanitize
from blazechat.terminal.accounts import DEVICE_NAME, SavedAccount, SavedAccounts
from blazechat.terminal.widgets.form_field import FormField
from blazechat.terminal.widgets.notice_line import NoticeLine

RETRY_SECONDS = 3.0
"""How long the client retries a request while the user waits for it."""
SHORT_SCREEN_LINES = 34
"""Fields are one line high on screens with fewer lines than this."""
TIGHT_SCREEN_LINES = 24
"""Fields have no empty lines between them on screens with fewer lines than this."""

FIELD_OF_ERROR: Mapping[type[Exception], str] = {
    InvalidServerUrl: "url",
    WrongCredentials: "password",
    UsernameTaken: "username",
    EmailTaken: "email",
    InvitationInvalid: "invitation",
    Unreachable: "url",
    NotBlazeChat: "url",
}
"""The field beside which an error is displayed. All others are displayed below the title."""


class LoginScreen(Screen[None]):
    """A form for login and registration.

    `url` and `username` are filled in. `reason` is displayed as an error.
    """

    DEFAULT_CSS = """
    LoginScreen { align: center middle; }
    LoginScreen > .box {
        width: 64; max-width: 100%; height: auto; max-height: 100%; padding: 1 2;
        border: round $primary; background: $surface;
    }
    LoginScreen.-tight > .box { padding: 0 2; }
    LoginScreen .title { text-style: bold; color: $text-primary; width: 100%; margin-bottom: 1; }
    LoginScreen .register { display: none; }
    LoginScreen.-register .register { display: block; }
    LoginScreen.-register .login { display: none; }
    LoginScreen #error { color: $text-error; width: 100%; display: none; margin-bottom: 1; }
    LoginScreen #error.-shown { display: block; }
    LoginScreen #buttons { height: auto; }
    LoginScreen.-tight #buttons { margin-top: 1; }
    LoginScreen NoticeLine { dock: bottom; margin-bottom: 1; }
    LoginScreen Button { margin-right: 2; }
    LoginScreen OptionList { height: auto; max-height: 6; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        # Priority bindings run before later keys are forwarded, so keys typed in a burst reach the field
        # that has the focus after them.
        Binding("tab", "focus_after_keys(1)", show=False, priority=True),
        Binding("shift+tab", "focus_after_keys(-1)", show=False, priority=True),
        Binding("enter", "submit_field", show=False, priority=True),
        Binding("ctrl+n", "toggle_form", "New account / log in", priority=True),
        Binding("ctrl+q", "app.quit", "Quit"),
    ]

    class LoggedIn(TextualMessage):
        """The user logged in or selected a saved account. The vault has the login."""

        def __init__(self, account: SavedAccount) -> None:
            super().__init__()
            self.account = account

    def __init__(
        self,
        accounts: SavedAccounts,
        url: str,
        username: str = "",
        reason: str = "",
        *,
        offer_saved: bool = True,
    ) -> None:
        super().__init__()
        self._accounts = accounts
        self._reason = reason
        self._saved_accounts = accounts.all() if offer_saved else []
        self._fields = [
            FormField("url", "Server", url, placeholder="such as chat.example.com"),
            FormField("username", "User name", username),
            FormField("email", "E-mail", classes="register"),
            FormField("password", "Password", password=True),
            FormField(
                "invitation",
                "Invitation",
                placeholder="if the server requires one",
                is_required=False,
                classes="register",
            ),
        ]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=False):
            yield Label("Log in to BlazeChat", classes="title login")
            yield Label("Create a BlazeChat account", classes="title register")
            yield Label("", id="error")
            if self._saved_accounts:
                options = [
                    Option(Text(f"Continue as {self._account_label(each)}"))
                    for each in self._saved_accounts
                ]
                yield OptionList(*options, id="saved")
            yield from self._fields
            with Horizontal(id="buttons"):
                yield Button("Log in", id="log-in", variant="primary", classes="login")
                yield Button("Create account", id="create", variant="primary", classes="register")
                yield Button("New account", id="show-register", classes="login")
                yield Button("I have an account", id="show-login", classes="register")
        yield NoticeLine(has_rule=False)
        yield Footer()

    def on_mount(self) -> None:
        self._show_error(self._reason)
        if not self._saved_accounts or self._field("username").input.value:
            self._focus_first_empty()

    def on_resize(self) -> None:
        is_tight = self.size.height < TIGHT_SCREEN_LINES
        self.set_class(is_tight, "-tight")
        for field in self._fields:
            field.set_class(self.size.height < SHORT_SCREEN_LINES, "-short")
            field.set_class(is_tight, "-tight")
        for button in self.query(Button):
            button.compact = is_tight

    # Keys

    def action_focus_after_keys(self, step: int) -> None:
        """Move the focus to the next widget, or to the previous one."""
        if step > 0:
            self.focus_next()
        else:
            self.focus_previous()

    async def action_submit_field(self) -> None:
        """Go to the next empty field, or submit the form if there is none."""
        if not isinstance(self.focused, Input):
            raise SkipAction
        await self._handle_typed_keys(self.focused)
        if any(field.is_missing for field in self._fields):
            self._focus_first_empty()
        else:
            self._submit()

    async def _handle_typed_keys(self, field: Input) -> None:
        """Wait until the field has handled the keys that were pressed before this one."""
        is_done = asyncio.Event()
        if field.call_later(is_done.set):
            await is_done.wait()

    @on(Button.Pressed, "#show-register")
    @on(Button.Pressed, "#show-login")
    def action_toggle_form(self) -> None:
        self.toggle_class("-register")
        self._show_error("")
        for field in self._fields:
            field.show_error("")
        # The fields are displayed after the styles are updated.
        self.call_after_refresh(self._focus_first_empty)

    # The form

    @on(Button.Pressed, "#log-in")
    @on(Button.Pressed, "#create")
    def _submit(self) -> None:
        """Send the form, unless it is being sent: a second Enter would register the account again."""
        if self.query_one(".box").loading:
            return
        self._show_error("")
        missing = {
            field.input.id: f"{field.label} is missing." for field in self._fields if field.is_missing
        }
        if missing:
            self._show_field_errors(missing)
        else:
            self.query_one(".box").loading = True
            self._log_in()

    @on(OptionList.OptionSelected, "#saved")
    def _account_selected(self, event: OptionList.OptionSelected) -> None:
        self.post_message(self.LoggedIn(self._saved_accounts[event.option_index]))

    @work(exclusive=True)
    async def _log_in(self) -> None:
        try:
            account = await self._authenticate()
        except (BlazeChatError, InvalidServerUrl) as error:
            self.query_one(".box").loading = False
            self._explain(error)
        except OSError as error:
            self.query_one(".box").loading = False
            self._show_error(f"Your login cannot be saved: {error}.")
        else:
            self.post_message(self.LoggedIn(account))

    async def _authenticate(self) -> SavedAccount:
        """Log in, or register and log in. Raises InvalidServerUrl or BlazeChatError."""
        url = server_url(self._value("url"))
        vault = self._accounts.vault(url)
        username, password = self._value("username"), self._field("password").input.value
        async with Client(url, vault=vault, device=DEVICE_NAME, retry_seconds=RETRY_SECONDS) as client:
            if self.has_class("-register"):
                invitation = self._value("invitation") or None
                await client.register(username, self._value("email"), password, invitation=invitation)
            else:
                await client.log_in(username, password)
        assert vault.account is not None
        return vault.account

    def _explain(self, error: Exception) -> None:
        """Show an error beside the fields that it is about, else below the title."""
        details: dict[str | None, str] = {}
        if isinstance(error, ApiError):
            details = {each.field: each.detail for each in error.fields if self._has_field(each.field)}
        field = FIELD_OF_ERROR.get(type(error))
        if not details and field is not None:
            details = {field: str(error)}
        if details:
            self._show_field_errors(details)
        else:
            self._show_error(str(error))

    def _show_field_errors(self, details: Mapping[str | None, str]) -> None:
        """Show errors by field name, and focus the first of these fields. The input stays."""
        invalid = [field for field in self._fields if field.input.id in details]
        for field in invalid:
            field.show_error(details[field.input.id])
        self.set_focus(invalid[0].input)

    def _show_error(self, text: str) -> None:
        label = self.query_one("#error", Label)
        label.update(Text(sanitize.line(text)))
        label.set_class(bool(text), "-shown")

    def _focus_first_empty(self) -> None:
        """Focus the first empty field that is required; the password if there is none."""
        empty = (field for field in self._fields if field.is_missing)
        self.set_focus(next(empty, self._field("password")).input)

    def _field(self, name: str) -> FormField:
        return next(field for field in self._fields if field.input.id == name)

    def _has_field(self, name: str) -> bool:
        return any(field.input.id == name and field.display for field in self._fields)

    def _value(self, name: str) -> str:
        return self._field(name).input.value.strip()

    def _account_label(self, account: SavedAccount) -> str:
        """Return the account's name, or its URL if another account differs by the scheme only."""
        names = [each.name for each in self._saved_accounts]
        return account.name if names.count(account.name) == 1 else f"{account.username} at {account.url}"
