"""Implements the commands for chats and their members: list, open, create, add, remove."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from blazechat.client import Client, MyChat, Role, User
from blazechat.client.errors import AlreadyMember, NotFound
from blazechat.terminal import labels, sanitize
from blazechat.terminal.cli.errors import EXIT_USAGE, CommandError
from blazechat.terminal.cli.output import print_line
from blazechat.terminal.cli.session import all_chats, find_chat, find_users, logged_in, my_id
from blazechat.vocabulary import History

ADD_ATTEMPTS = 3
"""How often the users to add are determined, if other programs add some of them at the same time."""


@dataclass(frozen=True)
class GroupDraft:
    """A group to create. Without `allow_duplicate`, an equal one of this account is used instead."""

    name: str
    usernames: Sequence[str]
    history: History
    allow_duplicate: bool


async def list_chats(account_name: str | None, json: bool) -> None:
    """Print all chats, the most recently active first."""
    async with logged_in(account_name) as client:
        async for chat in all_chats(client):
            label = labels.of_chat(chat, my_id(client))
            print_line(chat if json else f"{chat.id}\t{chat.unread}\t{label}")


async def open_direct(
    account_name: str | None, username: str, content: str | None, client_id: str | None, json: bool
) -> None:
    """Print the id of the direct chat with a user. With `content`, send it as a message first."""
    async with logged_in(account_name) as client:
        (user,) = await find_users(client, [username])
        if user.id == my_id(client):
            raise CommandError("this is your own account. Name another user, or create a group.")
        chat = await client.chats.create_direct(user.id)
        if content is None:
            print_line(chat if json else str(chat.id))
            return
        sent = await client.messages.send(chat.id, content, client_id=client_id)
        print_line(sent if json else str(chat.id))


async def create_group(account_name: str | None, draft: GroupDraft, json: bool) -> None:
    """Create a group, or find it, and print its id. Raises CommandError if the one found is different."""
    async with logged_in(account_name) as client:
        users = [each for each in await find_users(client, draft.usernames) if each.id != my_id(client)]
        chat = None if draft.allow_duplicate else await _own_group(client, draft.name)
        if chat is None:
            chat = await client.chats.create_group(
                draft.name, [each.id for each in users], history=draft.history
            )
        else:
            await _require_members(client, chat, users)
            print(f"You own this group already: {sanitize.line(draft.name)}.", file=sys.stderr)
        print_line(chat if json else str(chat.id))


async def change_members(
    account_name: str | None, chat: str, add: Sequence[str], remove: Sequence[str], json: bool
) -> None:
    """Add and remove members, and print the members that the chat has then."""
    async with logged_in(account_name) as client:
        added, removed = await find_users(client, add), await find_users(client, remove)
        if both := {each.id for each in added} & {each.id for each in removed}:
            username = next(each.username for each in added if each.id in both)
            raise CommandError(f"@{username} is both to be added and to be removed.", EXIT_USAGE)
        chat_id = await find_chat(client, chat)
        await _add_members(client, chat_id, added)
        await _remove_members(client, chat_id, removed)
        if my_id(client) in {each.id for each in removed}:
            return  # the list is for members only
        async for member in client.chats.members(chat_id):
            line = f"@{sanitize.line(member.username)}\t{member.role}\t{member.status}"
            print_line(member if json else line)


async def _own_group(client: Client, name: str) -> MyChat | None:
    """Return a group with this name, in any case, that this account owns."""
    wanted = name.strip().casefold()
    async for chat in all_chats(client):
        if chat.is_group_chat and chat.role is Role.OWNER and (chat.name or "").casefold() == wanted:
            return chat
    return None


async def _require_members(client: Client, chat: MyChat, users: Sequence[User]) -> None:
    """Raise CommandError if one of the users is not a member."""
    member_ids = {member.id async for member in client.chats.members(chat.id)}
    missing = [f"@{user.username}" for user in users if user.id not in member_ids]
    if missing:
        raise CommandError(
            f"you own the group {sanitize.line(chat.name or '')} (chat {chat.id}) already,"
            f" without {', '.join(missing)}.\n"
            f"Add them: blazechat members {chat.id} --add {' --add '.join(missing)}\n"
            "Or create another group of this name with --duplicate."
        )


async def _add_members(client: Client, chat_id: int, users: Sequence[User]) -> None:
    """Add the users who are not members yet."""
    for attempt in range(1, ADD_ATTEMPTS + 1):
        member_ids = {member.id async for member in client.chats.members(chat_id)} if users else set()
        missing = [user.id for user in users if user.id not in member_ids]
        if not missing:
            return
        try:
            await client.chats.add_members(chat_id, missing)
        except AlreadyMember:  # another program has added one meanwhile
            if attempt == ADD_ATTEMPTS:
                raise
        else:
            return


async def _remove_members(client: Client, chat_id: int, users: Sequence[User]) -> None:
    """Remove the users who are members; this account last, since it cannot remove others after that."""
    if not users:
        return
    member_ids = {member.id async for member in client.chats.members(chat_id)}
    for user in sorted(users, key=lambda user: user.id == my_id(client)):
        if user.id in member_ids:
            try:
                await client.chats.remove_member(chat_id, user.id)
            except NotFound:  # another program has removed the user, or this account is gone
                continue
