"""The lines around a conversation: how the connection is, who is here, who writes."""

from datetime import datetime, timedelta

from rich.text import Text

from blazechat.client import ChatState, Client, ConnectionState, Status
from blazechat.terminal import labels, sanitize

MAX_NAMES = 3
CONNECTION_LABELS = {
    ConnectionState.ONLINE: ("● online", "green"),
    ConnectionState.SYNCING: ("◌ catching up", "yellow"),
    ConnectionState.CONNECTING: ("◌ connecting", "yellow"),
    ConnectionState.OFFLINE: ("○ offline", "red"),
    ConnectionState.ENDED: ("○ logged out", "red"),
}


def connection_line(client: Client, retry_in: float | None, width: int) -> Text:
    """Who one is, and how the connection is; `retry_in` seconds to the next try."""
    login = client.login
    who = f" {login.username} · {client.url.partition('://')[2]}" if login else " BlazeChat"
    shown, style = CONNECTION_LABELS[client.connection_state]
    if client.connection_state is ConnectionState.OFFLINE:
        waiting = sum(len(drafts) for drafts in client.outbox.unsent_by_chat().values())
        queue = f"; {waiting} waiting to be sent" if waiting else ""
        again = f", next try in {retry_in:.0f} s (Ctrl+R: now)" if retry_in is not None else ""
        reason = sanitize.line(client.connection_reason)
        shown = f"{shown}{again}{queue}: {reason}" if reason else f"{shown}{queue}"
    room = max(10, width - 2)
    state = Text(shown, style, no_wrap=True)
    state.truncate(max(10, room - 12), overflow="ellipsis")
    line = Text(who, "bold", no_wrap=True)
    line.truncate(max(4, room - state.cell_len - 1), overflow="ellipsis", pad=True)
    line.append(" ")
    line.append_text(state)
    return line


def title_line(client: Client, chat: ChatState | None, gone: str) -> Text:
    """What the chat is called, and who is in it."""
    if chat is None:
        nothing = "No chat is open" if client.connection_state is ConnectionState.ONLINE else ""
        return Text(nothing, no_wrap=True)
    line = Text(labels.of_chat(chat, chat.my_id), no_wrap=True, overflow="ellipsis")
    if gone:
        line.append(f"  {gone}", "red")
    elif chat.is_group:
        line.append(f"  {chat.member_count} {'member' if chat.member_count == 1 else 'members'}", "dim")
    elif chat.other_members:
        line.append(f"  {_presence(client, chat)}", "dim")
    return line


def activity_line(client: Client, chat: ChatState | None, new_below: int) -> Text:
    """Who writes, how much is new further down, and who has read one's last message."""
    if chat is None:
        if client.connection_state is ConnectionState.ONLINE and not client.state.chats:
            return Text("Begin with /dm @user or /group name @user …; F1 helps.")
        return Text("")
    writing = [labels.of_member(chat, user_id) for user_id in chat.typing_user_ids if user_id != chat.my_id]
    line = Text(no_wrap=True, overflow="ellipsis")
    if new_below:
        line.append(f"↓ {new_below} new (Ctrl+End)  ", "bold")
    if writing:
        shown = ", ".join(writing[:MAX_NAMES])
        verb = "is" if len(writing) == 1 else "are"
        line.append(f"{shown}{' and others' if len(writing) > MAX_NAMES else ''} {verb} writing …")
    elif (last := chat.last_message) is not None and last.user_id == chat.my_id:
        line.append(_read_by(chat, last.id))
    return line


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
    return f"@{other.username} · {_last_seen(seen, client.server_time) if seen else 'never here yet'}"


def _last_seen(moment: datetime, now: datetime) -> str:
    passed = max(timedelta(), now - moment)
    if passed < timedelta(minutes=2):
        return "was here just now"
    if passed < timedelta(hours=2):
        return f"was here {passed.seconds // 60} minutes ago"
    if passed < timedelta(days=2):
        return f"was here {passed // timedelta(hours=1)} hours ago"
    return f"was here {passed.days} days ago"
