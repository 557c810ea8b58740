"""Implements the commands for accounts and messages: log in, log out, list accounts, send, tail."""

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
from blazechat.terminal.accounts import DEVICE_NAME, SavedAccounts
from blazechat.terminal.cli.author_names import AuthorNames
from blazechat.terminal.cli.errors import EXIT_NO_CHAT, CommandError
from blazechat.terminal.cli.output import print_line, print_message, progress_printer
from blazechat.terminal.cli.session import PAGE_ROWS, find_chat, logged_in, my_id

LOGIN_RETRY_SECONDS = 2.0
"""Short, since a mistyped address is the most frequent reason for a server that cannot be reached."""


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
    vault = accounts.vault(url)
    async with Client(url, vault=vault, device=DEVICE_NAME, retry_seconds=LOGIN_RETRY_SECONDS) as client:
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
        printer = _ChatPrinter(client, chat_id, json)
        await printer.print_last(count)
        if events is None:
            return
        async for event in events:
            await printer.print_event(event)


class _ChatPrinter:
    """Prints the messages of a chat, each once and in order."""

    def __init__(self, client: Client, chat_id: int, json: bool) -> None:
        self._client, self._chat_id, self._json = client, chat_id, json
        self._names = AuthorNames(client)
        self._last_id = 0  # of the last printed message, or the one before the first

    async def print_last(self, count: int) -> None:
        """Print the last `count` messages."""
        found: list[Message] = []
        before: int | None = None
        while len(found) < count or not self._last_id:
            limit = max(1, min(count, PAGE_ROWS))
            page = await self._client.messages.page(self._chat_id, before=before, limit=limit)
            self._last_id = self._last_id or (page.items[0].id if page.items else 0)
            found += page.items
            before = page.older
            if before is None:
                break
        for message in reversed(found[:count]):
            await self._print(message)

    async def print_event(self, event: Event) -> None:
        """Print the new messages that an event brings. Raises CommandError if the chat is gone."""
        match event:
            case MessageCreated(chat_id=self._chat_id, message=message):
                if message.id > self._last_id:
                    await self._print(message)
                    self._last_id = message.id
            case ChatReset(chat_id=self._chat_id):
                await self._print_missed()
            case ChatDeleted(chat_id=self._chat_id) | ChatGone(chat_id=self._chat_id):
                raise CommandError(
                    "the chat was deleted, or you are no longer a member of it.", EXIT_NO_CHAT
                )
            case MemberRemoved(chat_id=self._chat_id, user_id=user_id):
                if user_id == my_id(self._client):
                    raise CommandError("you are no longer a member of this chat.", EXIT_NO_CHAT)

    async def _print_missed(self) -> None:
        while page := await self._client.messages.page(self._chat_id, after=self._last_id, limit=PAGE_ROWS):
            for message in reversed(page.items):
                await self._print(message)
            self._last_id = page.items[0].id

    async def _print(self, message: Message) -> None:
        if self._json:
            print_line(message)
        else:
            print_message(message, await self._names.name_of(message))
