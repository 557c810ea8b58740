"""Protocols of what slash commands, the chat loader and the event handler need of the screen and the app.

`ChatScreen` and `ChatApp` implement them. The classes that use them do not import the screen, which imports
them.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from rich.text import Text
from textual import events
from textual.app import App
from textual.geometry import Size
from textual.notifications import SeverityLevel
from textual.widget import Widget

from blazechat.client import ChatState, Client, Message
from blazechat.terminal.deletions import Deletions
from blazechat.terminal.transfers import Transfers
from blazechat.terminal.usage_counts import UsageCounts
from blazechat.terminal.widgets.chat_list import ChatFilter, ChatList
from blazechat.terminal.widgets.composer import Composer
from blazechat.terminal.widgets.message_list import MessageList
from blazechat.terminal.widgets.welcome import Welcome

Work = Callable[[], Awaitable[object]]


class AppActions(Protocol):
    """What commands ask of the app."""

    usage: UsageCounts

    @property
    def notifies(self) -> bool:
        """True if mentions and direct messages notify the user."""
        ...

    def set_notify(self, notify: bool) -> None:
        """Turn notifications on or off, and save that."""
        ...

    @property
    def text_columns(self) -> int:
        """The maximum width of text, in columns."""
        ...

    def set_text_columns(self, columns: int) -> None:
        """Change the maximum width of text, and save it."""
        ...

    def change_account(self) -> object:
        """Close the client and show the login screen with the saved accounts."""
        ...

    def log_out(self) -> object:
        """End the session and show the login screen."""
        ...


class Entry(Protocol):
    """What the composer's text is: a new message, a reply to `reply_target`, or a change of a message."""

    reply_target: Message | None

    def take_text(self, event: events.Key | events.Paste) -> None:
        """Move the focus to the composer, and enter there what was typed or pasted elsewhere."""
        ...

    def edit(self, message: Message) -> None:
        """Put the content of the user's own message into the composer, to change it."""
        ...

    def reply(self, message: Message) -> None:
        """Make the composer's text a reply to a message."""
        ...

    def append_text(self, text: str) -> None:
        """Add lines after the composer's text."""
        ...

    def cancel(self) -> None:
        """End an edit or a reply. After an edit, the draft of the chat returns to the composer."""
        ...


class ChatView(Protocol):
    """What commands, the chat loader and the event handler ask of the chat screen."""

    client: Client
    chat: ChatState | None
    """The open chat."""
    gone_reason: str
    """Why the open chat does not exist any more for this user; empty while it exists."""
    transfers: Transfers
    deletions: Deletions
    app_actions: AppActions

    @property
    def app(self) -> App[object]: ...

    @property
    def is_mounted(self) -> bool: ...

    @property
    def size(self) -> Size: ...

    @property
    def entry(self) -> Entry: ...

    @property
    def message_list(self) -> MessageList: ...

    @property
    def chat_list(self) -> ChatList: ...

    @property
    def chat_filter(self) -> ChatFilter: ...

    @property
    def composer(self) -> Composer: ...

    @property
    def welcome(self) -> Welcome: ...

    def set_focus(self, widget: Widget | None) -> None: ...

    def set_timer(self, delay: float, callback: Callable[[], None]) -> object:
        """Call `callback` after `delay` seconds."""
        ...

    def run_in_background(self, work: Work, *, group: str, exclusive: bool = False) -> None:
        """Start a task. An exclusive task cancels the others of its group."""
        ...

    def start_command(self, work: Work) -> None:
        """Start a task of a command. Its errors are shown as notices."""
        ...

    def schedule_refresh(self) -> None:
        """Draw changes soon, together with those that follow."""
        ...

    def refresh_welcome(self) -> None:
        """Load the people of the server again, if no chat is open."""
        ...

    def update_status_lines(self) -> None:
        """Draw the status lines now."""
        ...

    def open_chat(self, chat_id: int) -> None:
        """Show a chat, unless it is unknown or an unsaved edit is in the composer."""
        ...

    async def go_to_message(self, message_id: int) -> bool:
        """Select a message of the open chat, after loading the messages since then.

        Returns False if that failed, or if the user opened another chat meanwhile.
        """
        ...

    def replace_chat(self, chat: ChatState) -> None:
        """Show the new state of the open chat, which might have been deleted and added again."""
        ...

    def mark_gone(self, reason: str) -> None:
        """Keep the open chat readable, and refuse to send to it. `reason` is a sentence for the user."""
        ...

    def save_draft(self) -> None:
        """Save the composer's text as the draft of the open chat."""
        ...

    def end_session(self, reason: str) -> None:
        """Return to the login screen. `reason` is a sentence for the user."""
        ...

    def notify_message(self, chat: ChatState, message: Message) -> None:
        """Notify the user of a message, unless notifications are off."""
        ...

    def show_banner(self, text: Text | None) -> None:
        """Show a line above the composer; None hides it."""
        ...

    def show_notice(self, text: str, severity: SeverityLevel = "information") -> None:
        """Show one line for as long as it takes to read it. The text is sanitized."""
        ...

    def show_response(self, title: str, text: str) -> None:
        """Show a text of several lines until the user closes it. Title and text are sanitized."""
        ...

    def close_response(self) -> bool:
        """Close that text. Returns False if none is shown."""
        ...
