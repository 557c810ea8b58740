"""Implements the commands for scripts: log in, log out, list accounts and chats, send, tail."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blazechat.client import (
    ChatDeleted,
    ChatGone,
    ChatReset,
    Client,
    Event,
    MemberRemoved,
    Message,
    MessageCreated,
)
from blazechat.terminal import labels
from blazechat.terminal.accounts import DEVICE_NAME, SavedAccounts
from blazechat.terminal.cli.errors import EXIT_NO_CHAT, CommandError
from blazechat.terminal.cli.output import print_line, print_message, progress_printer
from blazechat.terminal.cli.session import PAGE_ROWS, all_chats, find_chat, logged_in, my_id


@dataclass(frozen=True)
class LoginInput:
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


async def log_in(url: str, login: LoginInput, json: bool) -> None:
    """Log in or register, and save the account. Raises what `Client.log_in` and `Client.register` raise."""
    accounts = SavedAccounts()
    async with Client(url, device=DEVICE_NAME, retry_seconds=0) as anonymous:
        url = anonymous.url
    async with Client(url, vault=accounts.vault(url), device=DEVICE_NAME) as client:
        if login.email is not None:
            await client.register(login.username, login.email, login.password, invitation=login.invitation)
        else:
            await client.log_in(login.username, login.password)
        account = accounts.find(url=url)
        assert account is not None
        print_line(account if json else f"Logged in as {account.name}.")


async def log_out(account_name: str | None) -> None:
    async with logged_in(account_name) as client:
        await client.log_out()


async def list_accounts(json: bool) -> None:
    """Print the saved accounts, the last used first."""
    for account in SavedAccounts().all():
        print_line(account if json else account.name)


async def list_chats(account_name: str | None, json: bool) -> None:
    """Print all chats, the most recently active first."""
    async with logged_in(account_name) as client:
        async for chat in all_chats(client):
            label = labels.of_chat(chat, my_id(client))
            print_line(chat if json else f"{chat.id}\t{chat.unread}\t{label}")


async def send(account_name: str | None, chat: str, message: OutgoingMessage, json: bool) -> None:
    """Send a message and print its id. Upload progress goes to standard error if that is a terminal."""
    async with logged_in(account_name) as client:
        chat_id = await find_chat(client, chat, create=True)
        uploads = [
            await client.files.upload(path, on_progress=progress_printer(path)) for path in message.files
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
        print_message(message, json)
    return newest


async def _print_event(client: Client, event: Event, chat_id: int, last_id: int, json: bool) -> int:
    """Print the new messages that an event brings to the chat; return the id of the last printed one."""
    match event:
        case MessageCreated(chat_id=event_chat_id, message=message) if event_chat_id == chat_id:
            if message.id > last_id:
                print_message(message, json)
                return message.id
        case ChatReset(chat_id=event_chat_id) if event_chat_id == chat_id:
            return await _print_after(client, chat_id, last_id, json)
        case ChatDeleted(chat_id=event_chat_id) | ChatGone(chat_id=event_chat_id) if (
            event_chat_id == chat_id
        ):
            raise CommandError("the chat was deleted, or you are no longer a member of it.", EXIT_NO_CHAT)
        case MemberRemoved(chat_id=event_chat_id, user_id=user_id) if event_chat_id == chat_id:
            if user_id == my_id(client):
                raise CommandError("you are no longer a member of this chat.", EXIT_NO_CHAT)
    return last_id


async def _print_after(client: Client, chat_id: int, last_id: int, json: bool) -> int:
    """Print the messages with ids greater than `last_id`; return the id of the last one."""
    while page := await client.messages.page(chat_id, after=last_id, limit=PAGE_ROWS):
        for message in reversed(page.items):
            print_message(message, json)
        last_id = page.items[0].id
    return last_id
