"""The status lines of the chat screen: connection, title of the chat, typing users and read cursors."""

from datetime import datetime, timedelta

from rich.text import Text
from textual.widgets import Static

from blazechat.client import ChatState, Client, ConnectionState, Status
from blazechat.terminal import labels, sanitize

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


def connection_line(client: Client, retry_in: float | None, width: int) -> Text:
    """Return the user, the server and the state of the connection in at most `width` columns.

    `retry_in` is the time until the next attempt to connect, in seconds.
    """
    login = client.login
    user = f" {login.username} · {client.url.partition('://')[2]}" if login else " BlazeChat"
    label, style = CONNECTION_LABELS[client.connection_state]
    if client.connection_state is ConnectionState.OFFLINE:
        label += _offline_details(client, retry_in)
    room = max(10, width - 2)
    state = Text(label, style, no_wrap=True)
    state.truncate(max(10, room - 12), overflow="ellipsis")
    line = Text(user, "bold", no_wrap=True)
    line.truncate(max(4, room - state.cell_len - 1), overflow="ellipsis", pad=True)
    line.append(" ")
    line.append_text(state)
    return line


def title_line(client: Client, chat: ChatState | None, gone_reason: str) -> Text:
    """Return the label of the open chat, and the number of members or the presence of the other user."""
    if chat is None:
        is_online = client.connection_state is ConnectionState.ONLINE
        return Text("No chat is open" if is_online else "", no_wrap=True)
    line = Text(labels.of_chat(chat, chat.my_id), no_wrap=True, overflow="ellipsis")
    if gone_reason:
        line.append(f"  {gone_reason}", "red")
    elif chat.is_group:
        line.append(f"  {chat.member_count} {'member' if chat.member_count == 1 else 'members'}", "dim")
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


def _offline_details(client: Client, retry_in: float | None) -> str:
    waiting = sum(len(messages) for messages in client.outbox.unsent_by_chat().values())
    queue = f"; {waiting} waiting to be sent" if waiting else ""
    retry = f", retry in {retry_in:.0f} s (Ctrl+R: now)" if retry_in is not None else ""
    reason = sanitize.line(client.connection_reason)
    return f"{retry}{queue}: {reason}" if reason else queue


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
