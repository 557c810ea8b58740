"""The welcome of an account without chats: who is on the server, how to begin, how to invite."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message as TextualMessage
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from blazechat.client import DirectoryScope, RegistrationPolicy, ServerInfo, Status, User
from blazechat.terminal import invitations, labels
from blazechat.terminal.widgets.key_order import KeyActions, ListKeys, TakeText

MAX_LISTED_USERS = 50
PRESENCE_DOTS = {Status.ONLINE: "●", Status.AWAY: "◐", Status.OFFLINE: "○"}

BEGIN = (
    ("/dm @name", "write to one person"),
    ("/group Team @name", "start a group"),
    ("Tab", "complete a name after @"),
    ("F1", "all keys and commands"),
)


@dataclass(frozen=True)
class WelcomeContent:
    """What the widget shows. `people` are the first users that this account can list."""

    name: str
    people: Sequence[User]
    has_more: bool
    info: ServerInfo | None
    is_admin: bool


class PeopleList(ListKeys, OptionList):
    """The people of the server. Typed text goes to the composer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "cursor_up", show=False),
        Binding("down", "cursor_down", show=False),
        Binding("enter", "select", "Write"),
    ]

    def __init__(self, keys: KeyActions, take_text: TakeText) -> None:
        super().__init__(id="people")
        self.key_actions = keys
        self.take_text = take_text


class Welcome(VerticalScroll, can_focus=False):
    """The welcome of an account without chats."""

    DEFAULT_CSS = """
    Welcome { height: 1fr; padding: 1 2 0 2; scrollbar-size-vertical: 1; display: none; }
    Welcome.-shown { display: block; }
    Welcome Static { height: auto; margin-bottom: 1; }
    Welcome #people, Welcome #people:focus {
        height: auto; max-height: 8; border: none; padding: 0; background: $surface;
        display: none; scrollbar-size-vertical: 1;
    }
    Welcome #people.-shown { display: block; }
    Welcome #people { text-wrap: nowrap; text-overflow: ellipsis; }
    Welcome #people:blur > .option-list--option-highlighted {
        background: $surface; color: $foreground; text-style: none;
    }
    Welcome #heading { margin-bottom: 0; }
    Welcome #rest { margin-top: 1; }
    """

    class PersonSelected(TextualMessage):
        """The user selected a person to write to."""

        def __init__(self, username: str) -> None:
            super().__init__()
            self.username = username

    def __init__(self, keys: KeyActions, take_text: TakeText) -> None:
        super().__init__()
        self._content: WelcomeContent | None = None
        self._heading, self._rest = Static(id="heading"), Static(id="rest")
        self._people = PeopleList(keys, take_text)

    def compose(self) -> ComposeResult:
        yield self._heading
        yield self._people
        yield self._rest

    def show(self, content: WelcomeContent) -> None:
        """Show this content, if it is new. The highlighted person stays."""
        self._set_shown(True)
        if content == self._content:
            return
        self._content = content
        self._heading.update(_heading(content))
        self._rest.update(_rest(content))
        highlighted = self._people.highlighted
        self._people.clear_options()
        self._people.add_options([Option(_person(user), id=user.username) for user in content.people])
        self._people.set_class(bool(content.people), "-shown")
        if content.people:
            self._people.highlighted = min(highlighted or 0, len(content.people) - 1)

    def hide(self) -> None:
        self._set_shown(False)

    def focus_people(self) -> None:
        """Give the focus to the list of people, unless it is empty."""
        if self._content is not None and self._content.people:
            self.screen.set_focus(self._people)

    def _set_shown(self, is_shown: bool) -> None:
        """The parent's class hides the messages meanwhile."""
        self.set_class(is_shown, "-shown")
        if isinstance(self.parent, Widget):
            self.parent.set_class(is_shown, "-welcome")

    @on(OptionList.OptionSelected, "#people")
    def _select(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option.id is not None:
            self.post_message(self.PersonSelected(event.option.id))


def _heading(content: WelcomeContent) -> Text:
    text = Text()
    text.append(f"Welcome, {content.name}!\n\n", "bold")
    text.append("People on this server\n", "bold")
    if content.people:
        text.append("Esc goes to this list, Enter opens a chat", "dim")
    elif content.info is not None and content.info.directory is not DirectoryScope.EVERYONE:
        text.append("This server does not list them. Write to a person by the exact user name: /dm @name")
    else:
        text.append("This server has no other accounts yet.")
    return text


def _rest(content: WelcomeContent) -> Group:
    commands = Table.grid(padding=(0, 2, 0, 0))
    for keys, meaning in BEGIN:
        commands.add_row(Text(keys, "bold", no_wrap=True), Text(meaning))
    parts: list[Text | Table] = [Text("To begin, type", "bold"), commands]
    if content.has_more:
        parts.insert(0, Text("More people: type /dm @ and the beginning of a name.\n", "dim"))
    if content.info is not None:
        parts.append(Text("\nTo invite others", "bold"))
        parts.append(Text(invitations.summary(content.info, is_admin=content.is_admin)))
        if content.info.registration is RegistrationPolicy.OPEN:
            parts.append(Text(content.info.url, "bold"))
            parts.append(Text("/invite says what they type."))
    return Group(*parts)


def _person(user: User) -> Text:
    style = {Status.ONLINE: "green", Status.AWAY: "yellow"}.get(user.status, "dim")
    name = labels.of_user(user)
    text = Text.assemble((f"{PRESENCE_DOTS[user.status]} ", style), name, no_wrap=True, overflow="ellipsis")
    return text if name == user.username else text.append(f"  @{user.username}", "dim")
