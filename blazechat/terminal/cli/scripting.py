"""What the commands for scripts do: log in and out, list chats, send, tail."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from blazechat.client import (
    ChatDeleted,
    ChatGone,
    ChatReset,
    Client,
    LoggedOut,
    MemberRemoved,
    Message,
    MessageCreated,
    MyChat,
)
from blazechat.client.files import OnProgress
from blazechat.terminal import attachment_lines, labels, sanitize
from blazechat.terminal.accounts import DEVICE_NAME, Accounts
from blazechat.terminal.cli.commands import EXIT_NO_CHAT, CommandError

PAGE_ROWS = 100
FILE_LINE_COLUMNS = 200
"""Columns that a file is told in."""
MAX_CHAT_ID = 2**53 - 1


async def log_in(
    url: str, username: str, password: str, email: str | None, invitation: str | None, json: bool
) -> None:
    """With an e-mail address, of a new account."""
    accounts = Accounts()
    async with Client(url, device=DEVICE_NAME, retry_seconds=0) as anonymous:
        url = anonymous.url
    async with Client(url, vault=accounts.vault(url), device=DEVICE_NAME) as client:
        if email is not None:
            await client.register(username, email, password, invitation=invitation)
        else:
            await client.log_in(username, password)
        account = accounts.find(url=url)
        assert account is not None
        print_line(account if json else f"Logged in as {account.name}.")


async def log_out(name: str | None) -> None:
    async with logged_in(name) as client:
        await client.log_out()


async def list_accounts(json: bool) -> None:
    for account in Accounts().all():
        print_line(account if json else account.name)


async def list_chats(name: str | None, json: bool) -> None:
    """The latest first."""
    async with logged_in(name) as client:
        async for chat in _all_chats(client):
            title = labels.of_chat(chat, _my_id(client))
            print_line(chat if json else f"{chat.id}\t{chat.unread}\t{title}")


async def send(
    name: str | None,
    chat: str,
    content: str,
    files: Sequence[Path],
    reply_to: int | None,
    client_id: str | None,
    json: bool,
) -> None:
    """Files are uploaded first; how far they are is told on standard error, if somebody looks."""
    async with logged_in(name) as client:
        chat_id = await find_chat(client, chat, create=True)
        uploads = [await client.files.upload(path, on_progress=_progress_printer(path)) for path in files]
        message = await client.messages.send(
            chat_id,
            content,
            reply_to=reply_to,
            attachments=[upload.id for upload in uploads],
            client_id=client_id,
        )
        print_line(message if json else str(message.id))


async def tail(name: str | None, chat: str, count: int, follow: bool, json: bool) -> None:
    """The last messages; with `follow`, then all new ones, once and in order, through lost connections."""
    async with logged_in(name) as client:
        chat_id = await find_chat(client, chat)
        events = client.events() if follow else None  # listens before it looks: nothing falls between
        await client.chats.get(chat_id)  # to say so where there is none, or no server
        if events is not None:
            await client.connect()
        shown = await _print_last(client, chat_id, count, json)
        if events is None:
            return
        async for event in events:
            match event:
                case MessageCreated(chat_id=here, message=message) if here == chat_id:
                    if message.id > shown:
                        _print_message(message, json)
                        shown = message.id
                case ChatReset(chat_id=here) if here == chat_id:
                    shown = await _print_after(client, chat_id, shown, json)
                case ChatDeleted(chat_id=here) | ChatGone(chat_id=here) if here == chat_id:
                    raise CommandError("the chat is gone.", EXIT_NO_CHAT)
                case MemberRemoved(chat_id=here, user_id=user_id) if here == chat_id:
                    if user_id == _my_id(client):
                        raise CommandError("you are not in this chat any more.", EXIT_NO_CHAT)


@asynccontextmanager
async def logged_in(name: str | None) -> AsyncIterator[Client]:
    """A client of the account of that name, or of the last used. Raises LoggedOut."""
    accounts = Accounts()
    account = accounts.find(name)
    if account is None:
        who = f"There is no account {name!r} here." if name else "Nobody is logged in on this machine."
        raise LoggedOut(who)
    vault = accounts.vault(account.url, account)
    async with Client(account.url, vault=vault, device=DEVICE_NAME) as client:
        await client.restore_login()
        yield client


async def find_chat(client: Client, wanted: str, *, create: bool = False) -> int:
    """By id, by name, or by `@user`: with `create`, the direct chat with them is begun if need be."""
    if wanted.isascii() and wanted.isdecimal() and int(wanted) <= MAX_CHAT_ID:
        return int(wanted)
    if create and wanted.startswith("@"):
        user = await client.users.find(wanted)
        if user is None:
            raise CommandError(f"there is no user {wanted}.", EXIT_NO_CHAT)
        return (await client.chats.create_direct(user.id)).id
    key = wanted.removeprefix("@").casefold()
    found = [chat async for chat in _all_chats(client) if _matches(chat, key, _my_id(client))]
    if not found:
        raise CommandError(f"there is no chat {wanted!r}; `blazechat chats` lists yours.", EXIT_NO_CHAT)
    if len(found) > 1:
        ids = ", ".join(str(chat.id) for chat in found)
        raise CommandError(f"several chats are called {wanted!r}; say which by its id: {ids}.", EXIT_NO_CHAT)
    return found[0].id


def _matches(chat: MyChat, key: str, my_id: int) -> bool:
    if labels.of_chat(chat, my_id).casefold() == key:
        return True
    others = [user.username.casefold() for user in chat.users if user.id != my_id]
    return not chat.is_group_chat and key in others


async def _all_chats(client: Client) -> AsyncIterator[MyChat]:
    skip: int | None = 0
    while skip is not None:
        page = await client.chats.page(limit=PAGE_ROWS, skip=skip)
        for chat in page:
            yield chat
        skip = page.older


async def _print_last(client: Client, chat_id: int, count: int, json: bool) -> int:
    """Show that many; the id of the last."""
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


async def _print_after(client: Client, chat_id: int, shown: int, json: bool) -> int:
    while page := await client.messages.page(chat_id, after=shown, limit=PAGE_ROWS):
        for message in reversed(page.items):
            _print_message(message, json)
        shown = page.items[0].id
    return shown


def _print_message(message: Message, json: bool) -> None:
    if json:
        print_line(message)
        return
    if message.deleted_at is not None:
        return
    when = f"{message.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
    files = [attachment_lines.line(each, FILE_LINE_COLUMNS).plain for each in message.attachments]
    said = sanitize.lines(message.content) if message.content or not files else []
    first, *more = [*said, *files]
    line = f"{when} {sanitize.line(message.user.username)}: {first}"
    print_line("\n".join([line, *(f"    {each}" for each in more)]))


def _progress_printer(path: Path) -> OnProgress | None:
    if sys.stderr is None or not sys.stderr.isatty():
        return None

    def tell(have: int, size: int) -> None:
        percent = 100 * have // size if size else 100
        print(
            f"\r{sanitize.line(path.name)}: {percent} %", end="\n" if have >= size else "", file=sys.stderr
        )

    return tell


def print_line(value: object) -> None:
    """Write a line of what was asked for: text as it is, anything else as JSON."""
    if sys.stdout is None:
        raise OSError("there is no standard output")
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _my_id(client: Client) -> int:
    return client.login.user_id if client.login else 0
