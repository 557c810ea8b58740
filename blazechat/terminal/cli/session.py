"""Opens a client with a saved account, and finds chats by the names that users type."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from blazechat.client import Client, LoggedOut, MyChat, User
from blazechat.terminal import labels
from blazechat.terminal.accounts import DEVICE_NAME, SavedAccounts
from blazechat.terminal.cli.errors import EXIT_NO_CHAT, CommandError

PAGE_ROWS = 100
MAX_CHAT_ID = 2**53 - 1
"""The largest integer that every JSON parser reads exactly. A larger number is taken as a name."""


@asynccontextmanager
async def logged_in(account_name: str | None) -> AsyncIterator[Client]:
    """Yield a client of the account with this name; None for the last used one. Raises LoggedOut."""
    accounts = SavedAccounts()
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
        (user,) = await find_users(client, [chat])
        return (await client.chats.create_direct(user.id)).id
    name = chat.removeprefix("@").casefold()
    found = [each async for each in all_chats(client) if _matches(each, name, my_id(client))]
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


async def find_users(client: Client, usernames: Iterable[str]) -> list[User]:
    """Return the users with these names, with or without `@`, each once. Raises CommandError."""
    found: dict[int, User] = {}
    unknown = []
    for username in usernames:
        user = await client.users.find(username)
        if user is None:
            unknown.append(f"@{username.removeprefix('@')}")
        else:
            found[user.id] = user
    if unknown:
        raise CommandError(f"there is no user {' and no user '.join(unknown)}.", EXIT_NO_CHAT)
    return list(found.values())


async def all_chats(client: Client) -> AsyncIterator[MyChat]:
    """Yield all chats of the user, page by page."""
    skip: int | None = 0
    while skip is not None:
        page = await client.chats.page(limit=PAGE_ROWS, skip=skip)
        for chat in page:
            yield chat
        skip = page.older


def my_id(client: Client) -> int:
    return client.login.user_id if client.login else 0


def _matches(chat: MyChat, name: str, my_id: int) -> bool:
    if labels.of_chat(chat, my_id).casefold() == name:
        return True
    others = [user.username.casefold() for user in chat.users if user.id != my_id]
    return not chat.is_group_chat and name in others
