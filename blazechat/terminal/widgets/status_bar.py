"""The status lines of the chat screen: connection, title of the chat, typing users and read cursors."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static

from blazechat.client import ChatState, Client, ConnectionState, Status
from blazechat.terminal import labels, sanitize

MIN_ACCOUNT_COLUMNS = 12
MIN_REASON_COLUMNS = 15
"""A reason that has less room than this is left out."""
MAX_NAMES = 3
"""Users named in a list of typing users or readers."""
CONNECTION_LABELS = {
    ConnectionState.ONLINE: ("● online", "green"),
    ConnectionState.SYNCING: ("◌ catching up", "yellow"),
    ConnectionState.CONNECTING: ("◌ connecting", "yellow"),
    ConnectionState.OFFLINE: ("○ offline", "red"),
    ConnectionState.ENDED: ("○ logged out", "red"),
}


class StatusLine(Static):
    """A line of text. It is one line high whatever its text is, so that a change needs no layout."""

    _text: Text | None = None

    def show_text(self, text: Text) -> None:
        """Draw the text if it differs from the current one."""
        if text != self._text:
            self._text = text
            self.update(text, layout=False)


@dataclass(frozen=True)
class Outage:
    """Why there is no connection, and the seconds until the next attempt; None while it runs."""

    reason: str
    retry_in: float | None


def connection_line(client: Client, outage: Outage | None, width: int) -> Text:
    """Return the user, the server and the state of the connection in at most `width` columns.

    The user and the server come first, then the time of the next attempt, then what else fits.
    """
    room = max(10, width - 2)
    login = client.login
    account = Text(" BlazeChat", "bold", no_wrap=True)
    if login is not None:
        account = Text(f" {login.username} · {client.url.partition('://')[2]}", "bold", no_wrap=True)
    label, style = CONNECTION_LABELS[client.connection_state if outage is None else ConnectionState.OFFLINE]
    details = _outage_details(client, outage) if outage is not None else []
    shortest = sum(len(part) for part in (label, *details[:1]))
    account.truncate(max(MIN_ACCOUNT_COLUMNS, room - shortest - 1), overflow="ellipsis")
    state = Text(_fitting(label, details, room - account.cell_len - 1), style, no_wrap=True)
    state.truncate(max(0, room - account.cell_len - 1), overflow="ellipsis")
    account.pad_right(max(0, room - account.cell_len - state.cell_len - 1))
    return Text.assemble(account, " ", state, no_wrap=True)


def _fitting(label: str, details: list[str], columns: int) -> str:
    """Return the label with the details that fit in; the last one, the reason, may be cut."""
    for number, detail in enumerate(details):
        is_last = number == len(details) - 1
        if cell_len(label + detail) <= columns or (
            is_last and columns - cell_len(label) > MIN_REASON_COLUMNS
        ):
            label += detail
    return label


def title_line(client: Client, chat: ChatState | None, gone_reason: str) -> Text:
    """Return the label of the open chat, and the number of members or the presence of the other user."""
    if chat is None:
        is_online = client.connection_state is ConnectionState.ONLINE
        return Text("No chat is open" if is_online else "", no_wrap=True)
    line = Text(labels.of_chat(chat, chat.my_id), no_wrap=True, overflow="ellipsis")
    if gone_reason:
        line.append(f"  {gone_reason}", "red")
    elif chat.is_group:
        line.append(f"  {labels.count_members(chat.people_count, chat.bot_count)}", "dim")
    elif chat.other_members:
        line.append(f"  {_presence(client, chat)}", "dim")
    return line


def activity_line(client: Client, chat: ChatState | None, new_below_count: int) -> Text:
    """Return the number of new messages below the view, and the typing users.

    If no user types, the readers of the last message are named, if it is the user's own.
    """
    if chat is None:
        return Text("")
    typing = [labels.of_member(chat, user_id) for user_id in chat.typing_user_ids if user_id != chat.my_id]
    line = Text(no_wrap=True, overflow="ellipsis")
    if new_below_count:
        line.append(f"↓ {new_below_count} new (Ctrl+End)  ", "bold")
    if typing:
        names = ", ".join(typing[:MAX_NAMES])
        verb = "is" if len(typing) == 1 else "are"
        line.append(f"{names}{' and others' if len(typing) > MAX_NAMES else ''} {verb} typing …")
    elif (last := chat.last_message) is not None and last.user_id == chat.my_id:
        line.append(_read_by(chat, last.id))
    return line


def _outage_details(client: Client, outage: Outage) -> list[str]:
    """Return when the next attempt begins, the number of unsent messages, the key for it, the reason."""
    unsent = sum(len(messages) for messages in client.outbox.unsent_by_chat().values())
    is_waiting = outage.retry_in is not None
    details = [f" · next try in {math.ceil(outage.retry_in or 0)} s" if is_waiting else " · connecting …"]
    if unsent:
        details.append(f" · {unsent} unsent")
    if is_waiting:
        details.append(" · Ctrl+R: now")
    return [*details, f" · {sanitize.line(outage.reason)}"] if outage.reason else details


def _read_by(chat: ChatState, message_id: int) -> str:
    readers = [labels.of_member(chat, user_id) for user_id in chat.readers_of(message_id)]
    if not readers:
        return ""
    more = len(readers) - MAX_NAMES
    return f"Read by {', '.join(readers[:MAX_NAMES])}{f' and {more} more' if more > 0 else ''}"


def _presence(client: Client, chat: ChatState) -> str:
    other = chat.other_members[0]
    presence = client.state.presence.get(other.id)
    if presence is None:
        return f"@{other.username}"
    if presence.status is not Status.OFFLINE:
        return f"@{other.username} · {presence.status.value}"
    seen = presence.last_seen
    return f"@{other.username} · {_last_seen(seen, client.server_time) if seen else 'never seen'}"


def _last_seen(moment: datetime, now: datetime) -> str:
    passed = max(timedelta(), now - moment)
    if passed < timedelta(minutes=2):
        return "last seen just now"
    if passed < timedelta(hours=2):
        return f"last seen {passed.seconds // 60} minutes ago"
    if passed < timedelta(days=2):
        return f"last seen {passed // timedelta(hours=1)} hours ago"
    return f"last seen {passed.days} days ago"
