"""What chats, people and times are called on the screen."""

from datetime import datetime, timedelta

from blazechat.client import ChatState, Message, MyChat, State, User
from blazechat.terminal import sanitize

MAX_NAMES = 3
"""People by whose names a group without a name is called."""


def of_chat(chat: ChatState | MyChat, my_id: int) -> str:
    """Its name; else who is in it."""
    if chat.name:
        return sanitize.line(chat.name)
    members = chat.members.values() if isinstance(chat, ChatState) else chat.users
    others = [of_user(member) for member in members if member.id != my_id]
    if not others:
        return "Just you" if chat.member_count <= 1 else f"Chat {chat.id}"
    shown = ", ".join(others[:MAX_NAMES])
    more = chat.member_count - 1 - min(len(others), MAX_NAMES)
    return f"{shown} and {more} more" if more > 0 else shown


def of_user(user: User) -> str:
    return sanitize.line(user.display_name or user.username)


def of_author(message: Message, state: State) -> str:
    """Whoever wrote it, as they are called now, where that is known.

    A webhook may want to be called something else in each of its messages.
    """
    chat = state.chats.get(message.chat_id)
    member = chat.members.get(message.user_id) if chat else None
    known = member if member is not None and not member.is_bot else message.user
    return sanitize.line(known.display_name)


def of_member(chat: ChatState, user_id: int) -> str:
    member = chat.members.get(user_id)
    return of_user(member) if member else f"user {user_id}"


def day(moment: datetime, now: datetime) -> str:
    """Today, Yesterday, or the date."""
    that, today = moment.astimezone().date(), now.astimezone().date()
    if that == today:
        return "Today"
    if that == today - timedelta(days=1):
        return "Yesterday"
    return f"{that:%A}, {that.day} {that:%B %Y}"


def short_time(moment: datetime, now: datetime) -> str:
    """The time of today, the weekday of this week, else the date."""
    local, today = moment.astimezone(), now.astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M}"
    if timedelta(0) < today - local < timedelta(days=6):
        return f"{local:%a}"
    return f"{local:%d.%m.}" if local.year == today.year else f"{local:%Y}"
