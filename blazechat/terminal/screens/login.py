"""The login screen: selects a saved account, logs in to a server, or creates an account."""

from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message as TextualMessage
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Label, OptionList
from textual.widgets.option_list import Option

from blazechat.client import BlazeChatError, Client, InvalidServerUrl, server_url
from blazechat.client.errors import ApiError
from blazechat.terminal import sanitize
from blazechat.terminal.accounts import DEVICE_NAME, SavedAccount, SavedAccounts

RETRY_SECONDS = 3.0
"""How long the client retries a request while the user waits for it."""


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
    LoginScreen .title { text-style: bold; color: $text-primary; width: 100%; }
    LoginScreen .hint { color: $text-muted; margin-top: 1; width: 100%; }
    LoginScreen .register { display: none; }
    LoginScreen.-register .register { display: block; }
    LoginScreen.-register .login { display: none; }
    LoginScreen #error { color: $text-error; width: 100%; display: none; margin-top: 1; }
    LoginScreen #error.-shown { display: block; }
    LoginScreen Input { border: tall $border-blurred; height: 3; }
    LoginScreen Input:focus { border: tall $border; }
    LoginScreen.-short Input, LoginScreen.-short Input:focus { border: none; height: 1; margin-bottom: 1; }
    LoginScreen Horizontal { height: auto; margin-top: 1; }
    LoginScreen Button { margin-right: 2; }
    LoginScreen OptionList { height: auto; max-height: 6; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "toggle_form", "New account / log in"),
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
        self._url, self._username, self._reason = url, username, reason
        self._saved_accounts = accounts.all() if offer_saved else []

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=False):
            yield Label("BlazeChat", classes="title")
            if self._saved_accounts:
                options = [
                    Option(Text(f"Continue as {self._account_label(each)}"))
                    for each in self._saved_accounts
                ]
                yield OptionList(*options, id="saved")
            yield Input(self._url, placeholder="Server, such as chat.example.com", id="url")
            yield Input(self._username, placeholder="User name", id="username", max_length=400)
            yield Input(placeholder="E-mail address", id="email", classes="register", max_length=400)
            yield Input(placeholder="Password", password=True, id="password", max_length=400)
            yield Input(
                placeholder="Invitation, if the server requires one",
                id="invitation",
                classes="register",
                max_length=400,
            )
            yield Label("", id="error")
            with Horizontal():
                yield Button("Log in", id="log-in", variant="primary", classes="login")
                yield Button("Create account", id="create", variant="primary", classes="register")
                yield Button("New account", id="show-register", classes="login")
                yield Button("I have an account", id="show-login", classes="register")
        yield Footer()

    def on_mount(self) -> None:
        self._show_error(self._reason)
        if not self._saved_accounts or self._username:
            self.query_one("#password" if self._username else "#username", Input).focus()

    def on_resize(self) -> None:
        self.set_class(self.size.height < 30, "-short")

    @on(Button.Pressed, "#show-register")
    @on(Button.Pressed, "#show-login")
    def action_toggle_form(self) -> None:
        self.toggle_class("-register")
        self._show_error("")

    @on(Input.Submitted)
    def _submit_field(self, event: Input.Submitted) -> None:
        """Go to the next empty field, or submit the form if there is none. An invitation is optional."""
        for field in self.query(Input):
            if field.display and not field.value and field.id != "invitation":
                field.focus()
                return
        self._log_in()

    @on(Button.Pressed, "#log-in")
    @on(Button.Pressed, "#create")
    def _pressed(self) -> None:
        self._log_in()

    @on(OptionList.OptionSelected, "#saved")
    def _account_selected(self, event: OptionList.OptionSelected) -> None:
        self.post_message(self.LoggedIn(self._saved_accounts[event.option_index]))

    @work(exclusive=True)
    async def _log_in(self) -> None:
        values = {field.id: field.value.strip() for field in self.query(Input)}
        password = self.query_one("#password", Input).value
        try:
            url = server_url(values["url"])
        except InvalidServerUrl as error:
            self._show_field_error(str(error), "url")
            return
        self._show_error("")
        self.query_one(".box").loading = True
        vault = self._accounts.vault(url)
        try:
            async with Client(url, vault=vault, device=DEVICE_NAME, retry_seconds=RETRY_SECONDS) as client:
                if self.has_class("-register"):
                    await client.register(
                        values["username"],
                        values["email"],
                        password,
                        invitation=values["invitation"] or None,
                    )
                else:
                    await client.log_in(values["username"], password)
        except ApiError as error:
            fields = [each.field for each in error.fields if each.field in values]
            details = " ".join(each.detail for each in error.fields)
            self._show_field_error(details or str(error), fields[0] if fields else "password")
        except BlazeChatError as error:
            self._show_field_error(str(error), "url")
        else:
            assert vault.account is not None
            self.post_message(self.LoggedIn(vault.account))
        finally:
            self.query_one(".box").loading = False

    def _account_label(self, account: SavedAccount) -> str:
        """Return the account's name, or its URL if another account differs by the scheme only."""
        names = [each.name for each in self._saved_accounts]
        return account.name if names.count(account.name) == 1 else f"{account.username} at {account.url}"

    def _show_field_error(self, reason: str, field: str) -> None:
        """Show an error and focus its field. The input stays."""
        self._show_error(reason)
        self.query_one(f"#{field}", Input).focus()

    def _show_error(self, text: str) -> None:
        label = self.query_one("#error", Label)
        label.update(Text(sanitize.line(text)))
        label.set_class(bool(text), "-shown")
