"""Who is in a group: adding, removing, leaving, and roles."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, BigInteger, case, delete, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from blazechat.database import tables
from blazechat.domain import chats
from blazechat.domain.access import Action, Caller, Membership, chat_for
from blazechat.domain.changes import Mark
from blazechat.domain.errors import AlreadyMember, ChatFull, InvalidInput, NotFound, OwnerNeeded
from blazechat.domain.events import Seat
from blazechat.domain.shapes import Chat, MyChat, Role


class Members:
    def __init__(self, chats_: chats.Chats) -> None:
        self._chats = chats_

    async def add(
        self, session: AsyncSession, asker: Caller, chat_id: int, user_ids: Sequence[int]
    ) -> MyChat:
        """Add all of these users, or none of them.

        They begin with nothing unread. Raises AlreadyMember, ChatFull, InvalidInput, NotFound.
        """
        membership = await chat_for(session, asker.user_id, chat_id, Action.ADD)
        if len(set(user_ids)) < len(user_ids):
            raise InvalidInput.of("user_ids", "Each user is named once.")
        present = set(
            await session.scalars(select(tables.Member.user_id).where(tables.Member.chat_id == chat_id))
        )
        twice = present.intersection(user_ids)
        if twice:
            raise AlreadyMember(f"User {min(twice)} is in this chat already.")
        if len(present) + len(user_ids) > self._chats.max_members:
            raise ChatFull(f"A chat has at most {self._chats.max_members:,} members.")
        await self._chats.require_people(session, user_ids)
        newest = membership.chat.last_message_id
        session.add_all(
            tables.Member(
                chat_id=chat_id,
                user_id=user_id,
                role=Role.MEMBER,
                joined_id=newest,
                read_id=newest,
            )
            for user_id in user_ids
        )
        await self._chats.announce(session, membership.chat, changed=True)
        return await self._chats.mine(session, asker.user_id, chat_id)

    async def remove(self, session: AsyncSession, asker: Caller, chat_id: int, user_id: int) -> MyChat:
        """Remove somebody, or leave. Who leaves is told how the chat is without them.

        An owner who leaves is followed by the longest-serving admin, else member; the last one to
        leave takes the chat along. Raises NotFound if there is no such member.
        """
        if user_id == asker.user_id:
            leaving = await chat_for(session, asker.user_id, chat_id, Action.LEAVE)
            seat = Seat(leaving.role, leaving.member.read_id, leaving.member.joined_id)
            return chats.my_chat(await self._leave(session, leaving), seat, None)
        membership = await chat_for(session, asker.user_id, chat_id, Action.REMOVE_MEMBER)
        leaver = await _seat(session, chat_id, user_id)
        if leaver.role != Role.MEMBER:
            membership.require(Action.REMOVE_ADMIN)
        await session.delete(leaver)
        await self._chats.announce(session, membership.chat, changed=True)
        return await self._chats.mine(session, asker.user_id, chat_id)

    async def set_role(
        self, session: AsyncSession, asker: Caller, chat_id: int, user_id: int, role: Role
    ) -> MyChat:
        """Give a member another role. Making somebody the owner makes the present one an admin.

        Raises NotFound if there is no such member, OwnerNeeded for an owner's own role.
        """
        membership = await chat_for(session, asker.user_id, chat_id, Action.PROMOTE)
        seat = await _seat(session, chat_id, user_id)
        if user_id == asker.user_id and role != Role.OWNER:
            raise OwnerNeeded
        if role == Role.OWNER:
            membership.member.role = Role.ADMIN
        seat.role = role
        await self._chats.announce(session, membership.chat, changed=True)
        return await self._chats.mine(session, asker.user_id, chat_id)

    async def leave_all_groups(self, session: AsyncSession, user_id: int) -> None:
        """Leave every group, in the order of ids, as everybody locks chats."""
        groups = await session.scalars(
            select(tables.Chat.id)
            .join(tables.Member, tables.Member.chat_id == tables.Chat.id)
            .where(tables.Member.user_id == user_id, tables.Chat.kind == "group")
            .order_by(tables.Chat.id)
        )
        for chat_id in groups.all():
            try:
                membership = await chat_for(session, user_id, chat_id, Action.LEAVE)
            except NotFound:  # removed from it, or it was deleted, since we looked
                continue
            await self._leave(session, membership)

    async def _leave(self, session: AsyncSession, membership: Membership) -> Chat:
        chat = membership.chat
        await session.execute(
            delete(tables.Member).where(
                tables.Member.chat_id == chat.id,
                tables.Member.user_id == membership.member.user_id,
            )
        )
        heir = await session.scalar(
            select(tables.Member)
            .where(tables.Member.chat_id == chat.id)
            .order_by(
                case(
                    (tables.Member.role == Role.OWNER, 0),
                    (tables.Member.role == Role.ADMIN, 1),
                    else_=2,
                ),
                tables.Member.joined_at,
                tables.Member.user_id,
            )
            .limit(1)
        )
        if heir is None:
            left = (await self._chats.updated(session, chat)).chat
            await chats.remove(session, chat)
            return left
        if membership.role == Role.OWNER:
            heir.role = Role.OWNER
        return await self._chats.announce(session, chat, changed=True)


async def _seat(session: AsyncSession, chat_id: int, user_id: int) -> tables.Member:
    seat = await session.get(tables.Member, (chat_id, user_id), populate_existing=True)
    if seat is None:
        raise NotFound(f"User {user_id} is not in this chat.")
    return seat


async def peers(session: AsyncSession, user_id: int, among: Sequence[int]) -> set[int]:
    """Which of the users `among` share a chat with this one."""
    other = aliased(tables.Member)
    found = await session.scalars(
        select(other.user_id)
        .distinct()
        .join(tables.Member, tables.Member.chat_id == other.chat_id)
        .where(
            tables.Member.user_id == user_id,
            other.user_id == func.any(literal(list(among), ARRAY(BigInteger))),
        )
    )
    return set(found)


async def chats_of(session: AsyncSession, user_id: int) -> dict[int, Mark]:
    """The user's chats, and how far each has come."""
    rows = await session.execute(
        select(tables.Chat.id, tables.Chat.version, tables.Chat.last_message_id)
        .join(tables.Member, tables.Member.chat_id == tables.Chat.id)
        .where(tables.Member.user_id == user_id)
    )
    return {row.id: Mark(row.version, row.last_message_id) for row in rows}
