"""Display names of chats and users, and display forms of dates. All of them are sanitized."""

from datetime import datetime, timedelta

from blazechat.client import ChatState, Message, MyChat, State, User
from blazechat.terminal import sanitize

MAX_NAMES = 3
"""Members named in the label of a group without a name."""


def of_chat(chat: ChatState | MyChat, my_id: int) -> str:
    """Return the name of a chat, or the names of its other members if it has none."""
    if chat.name:
        return sanitize.line(chat.name)
    members = chat.members.values() if isinstance(chat, ChatState) else chat.users
    others = [member for member in members if member.id != my_id]
    people = [member for member in others if not member.is_bot]
    if not others:
        return "Just you" if chat.member_count <= 1 else f"Chat {chat.id}"
    named = [of_user(member) for member in people or others][:MAX_NAMES]
    names = ", ".join(named)
    more = chat.member_count - 1 - (len(others) - len(people) if people else 0) - len(named)
    return f"{names} and {more} more" if more > 0 else names


def of_user(user: User) -> str:
    return sanitize.line(user.display_name or user.username)


def count_members(people: int, bots: int) -> str:
    """Return, for example, `3 members, 1 bot`: bots are no members here."""
    counted = f"{people:,} {'member' if people == 1 else 'members'}"
    return f"{counted}, {bots:,} {'bot' if bots == 1 else 'bots'}" if bots else counted


def of_author(message: Message, state: State) -> str:
    """Return the current display name of an author, or the one in the message if it is not known.

    A bot has the name in the message, since a webhook can use another name in each message.
    """
    chat = state.chats.get(message.chat_id)
    member = chat.members.get(message.user_id) if chat else None
    author = member if member is not None and not member.is_bot else message.user
    return sanitize.line(author.display_name)


def of_member(chat: ChatState, user_id: int) -> str:
    member = chat.members.get(user_id)
    return of_user(member) if member else f"user {user_id}"


def day(moment: datetime, now: datetime) -> str:
    """Return `Today`, `Yesterday` or the date, in local time."""
    date, today = moment.astimezone().date(), now.astimezone().date()
    if date == today:
        return "Today"
    if date == today - timedelta(days=1):
        return "Yesterday"
    return f"{date:%A}, {date.day} {date:%B %Y}"


def short_time(moment: datetime, now: datetime) -> str:
    """Return the time of a moment today, the weekday of the last six days, else the date or the year."""
    local, today = moment.astimezone(), now.astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M}"
    if timedelta(0) < today - local < timedelta(days=6):
        return f"{local:%a}"
    return f"{local:%d.%m.}" if local.year == today.year else f"{local:%Y}"
