"""Implements the commands for scripts: log in, log out, list accounts and chats, send, tail."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from blazechat.client import (
    ChatDeleted,
    ChatGone,
    ChatReset,
    Client,
    Event,
    LoggedOut,
    MemberRemoved,
    Message,
    MessageCreated,
    MyChat,
)
from blazechat.client.files import OnProgress
from blazechat.terminal import attachment_lines, labels, sanitize
from blazechat.terminal.accounts import DEVICE_NAME, Accounts
from blazechat.terminal.cli.errors import EXIT_NO_CHAT, CommandError

PAGE_ROWS = 100
FILE_LINE_COLUMNS = 200
"""Width of the line that describes an attachment."""
MAX_CHAT_ID = 2**53 - 1
"""The largest integer that every JSON parser reads exactly. A larger number is taken as a name."""


@dataclass(frozen=True)
class Credentials:
    """What a user logs in with; with `email`, what they create an account with."""

    username: str
    password: str
    email: str | None
    invitation: str | None


@dataclass(frozen=True)
class OutgoingMessage:
    """A message to send. `files` are uploaded first. `client_id` is the idempotency key."""

    content: str
    files: Sequence[Path]
    reply_to: int | None
    client_id: str | None


async def log_in(url: str, credentials: Credentials, json: bool) -> None:
    """Log in or register, and save the account. Raises what `Client.log_in` and `Client.register` raise."""
    accounts = Accounts()
    async with Client(url, device=DEVICE_NAME, retry_seconds=0) as anonymous:
        url = anonymous.url
    async with Client(url, vault=accounts.vault(url), device=DEVICE_NAME) as client:
        username, password = credentials.username, credentials.password
        if credentials.email is not None:
            await client.register(username, credentials.email, password, invitation=credentials.invitation)
        else:
            await client.log_in(username, password)
        account = accounts.find(url=url)
        assert account is not None
        print_line(account if json else f"Logged in as {account.name}.")


async def log_out(account_name: str | None) -> None:
    async with logged_in(account_name) as client:
        await client.log_out()


async def list_accounts(json: bool) -> None:
    """Print the saved accounts, the last used first."""
    for account in Accounts().all():
        print_line(account if json else account.name)


async def list_chats(account_name: str | None, json: bool) -> None:
    """Print all chats, the most recently active first."""
    async with logged_in(account_name) as client:
        async for chat in _all_chats(client):
            label = labels.of_chat(chat, _my_id(client))
            print_line(chat if json else f"{chat.id}\t{chat.unread}\t{label}")


async def send(account_name: str | None, chat: str, message: OutgoingMessage, json: bool) -> None:
    """Send a message and print its id. Upload progress goes to standard error if that is a terminal."""
    async with logged_in(account_name) as client:
        chat_id = await find_chat(client, chat, create=True)
        uploads = [
            await client.files.upload(path, on_progress=_progress_printer(path)) for path in message.files
        ]
        sent = await client.messages.send(
            chat_id,
            message.content,
            reply_to=message.reply_to,
            attachments=[upload.id for upload in uploads],
            client_id=message.client_id,
        )
        print_line(sent if json else str(sent.id))


async def tail(account_name: str | None, chat: str, count: int, follow: bool, json: bool) -> None:
    """Print the last `count` messages. With `follow`, print each new message once and in order after that.

    Lost connections cause no gaps. Raises CommandError if the user can read the chat no longer.
    """
    async with logged_in(account_name) as client:
        chat_id = await find_chat(client, chat)
        events = client.events() if follow else None  # subscribes before the first read: no gap between
        await client.chats.get(chat_id)  # fails if there is no such chat or no server
        if events is not None:
            await client.connect()
        last_id = await _print_last(client, chat_id, count, json)
        if events is None:
            return
        async for event in events:
            last_id = await _print_event(client, event, chat_id, last_id, json)


@asynccontextmanager
async def logged_in(account_name: str | None) -> AsyncIterator[Client]:
    """Yield a client of the account with this name; None for the last used one. Raises LoggedOut."""
    accounts = Accounts()
    account = accounts.find(account_name)
    if account is None:
        raise LoggedOut(
            f"There is no account {account_name!r} on this machine."
            if account_name
            else "No account is logged in on this machine."
        )
    vault = accounts.vault(account.url, account)
    async with Client(account.url, vault=vault, device=DEVICE_NAME) as client:
        await client.restore_login()
        yield client


async def find_chat(client: Client, chat: str, *, create: bool = False) -> int:
    """Return the id of the chat with this id, name or `@username`. Raises CommandError.

    With `create`, `@username` creates the direct chat with that user if there is none.
    """
    if chat.isascii() and chat.isdecimal() and int(chat) <= MAX_CHAT_ID:
        return int(chat)
    if create and chat.startswith("@"):
        user = await client.users.find(chat)
        if user is None:
            raise CommandError(f"there is no user {chat}.", EXIT_NO_CHAT)
        return (await client.chats.create_direct(user.id)).id
    name = chat.removeprefix("@").casefold()
    found = [each async for each in _all_chats(client) if _matches(each, name, _my_id(client))]
    if not found:
        raise CommandError(
            f"there is no chat {chat!r}. List your chats with: blazechat chats", EXIT_NO_CHAT
        )
    if len(found) > 1:
        ids = ", ".join(str(each.id) for each in found)
        raise CommandError(
            f"several chats are named {chat!r}. Use the id of one of them: {ids}.", EXIT_NO_CHAT
        )
    return found[0].id


def print_line(value: object) -> None:
    """Print a string as it is, any other value as JSON, and flush. Raises OSError."""
    if sys.stdout is None:
        raise OSError("there is no standard output")
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _matches(chat: MyChat, name: str, my_id: int) -> bool:
    if labels.of_chat(chat, my_id).casefold() == name:
        return True
    others = [user.username.casefold() for user in chat.users if user.id != my_id]
    return not chat.is_group_chat and name in others


async def _all_chats(client: Client) -> AsyncIterator[MyChat]:
    skip: int | None = 0
    while skip is not None:
        page = await client.chats.page(limit=PAGE_ROWS, skip=skip)
        for chat in page:
            yield chat
        skip = page.older


async def _print_last(client: Client, chat_id: int, count: int, json: bool) -> int:
    """Print the last `count` messages; return the id of the newest one."""
    found: list[Message] = []
    before: int | None = None
    newest = 0
    while len(found) < count or not newest:
        page = await client.messages.page(chat_id, before=before, limit=max(1, min(count, PAGE_ROWS)))
        newest = newest or (page.items[0].id if page.items else 0)
        found += page.items
        before = page.older
        if before is None:
            break
    for message in reversed(found[:count]):
        _print_message(message, json)
    return newest


async def _print_event(client: Client, event: Event, chat_id: int, last_id: int, json: bool) -> int:
    """Print the new messages that an event brings to the chat; return the id of the last printed one."""
    match event:
        case MessageCreated(chat_id=event_chat_id, message=message) if event_chat_id == chat_id:
            if message.id > last_id:
                _print_message(message, json)
                return message.id
        case ChatReset(chat_id=event_chat_id) if event_chat_id == chat_id:
            return await _print_after(client, chat_id, last_id, json)
        case ChatDeleted(chat_id=event_chat_id) | ChatGone(chat_id=event_chat_id) if (
            event_chat_id == chat_id
        ):
            raise CommandError("the chat was deleted, or you are no longer a member of it.", EXIT_NO_CHAT)
        case MemberRemoved(chat_id=event_chat_id, user_id=user_id) if event_chat_id == chat_id:
            if user_id == _my_id(client):
                raise CommandError("you are no longer a member of this chat.", EXIT_NO_CHAT)
    return last_id


async def _print_after(client: Client, chat_id: int, last_id: int, json: bool) -> int:
    """Print the messages with ids greater than `last_id`; return the id of the last one."""
    while page := await client.messages.page(chat_id, after=last_id, limit=PAGE_ROWS):
        for message in reversed(page.items):
            _print_message(message, json)
        last_id = page.items[0].id
    return last_id


def _print_message(message: Message, json: bool) -> None:
    if json:
        print_line(message)
        return
    if message.deleted_at is not None:
        return
    time = f"{message.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
    files = [attachment_lines.line(each, FILE_LINE_COLUMNS).plain for each in message.attachments]
    text = sanitize.lines(message.content) if message.content or not files else []
    first, *more = [*text, *files]
    line = f"{time} {sanitize.line(message.user.username)}: {first}"
    print_line("\n".join([line, *(f"    {each}" for each in more)]))


def _progress_printer(path: Path) -> OnProgress | None:
    """Return a callback that prints the percentage to standard error; None if that is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None

    def on_progress(done_bytes: int, total_bytes: int) -> None:
        percent = 100 * done_bytes // total_bytes if total_bytes else 100
        end = "\n" if done_bytes >= total_bytes else ""
        print(f"\r{sanitize.line(path.name)}: {percent} %", end=end, file=sys.stderr)

    return on_progress


def _my_id(client: Client) -> int:
    return client.login.user_id if client.login else 0
