"""Who is in a group: adding, removing, leaving, and roles."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, case, delete, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from blazechat.database import tables
from blazechat.domain.auth.access import Action, Caller, Membership, chat_for
from blazechat.domain.chats import chats
from blazechat.domain.events import MemberRemoved, MembersAdded, MembersUpdated, Seat, emit
from blazechat.domain.schemas.chats import Chat, MyChat
from blazechat.errors import AlreadyMember, ChatFull, InvalidInput, NotFound, OwnerNeeded
from blazechat.vocabulary import Role


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
        await self._chats.require_people(session, user_ids)
        await self.seat(session, membership.chat, user_ids)
        return await self._chats.mine(session, asker.user_id, chat_id)

    async def seat(self, session: AsyncSession, chat: tables.Chat, user_ids: Sequence[int]) -> None:
        """Give users a seat in a locked chat that they are not in. Raises ChatFull."""
        if chat.member_count + len(user_ids) > self._chats.max_members:
            raise ChatFull(f"A chat has at most {self._chats.max_members:,} members.")
        newest = chat.last_message_id
        session.add_all(
            tables.Member(
                chat_id=chat.id,
                user_id=user_id,
                role=Role.MEMBER,
                joined_id=newest,
                joined_version=chat.version + 1,
                read_id=newest,
            )
            for user_id in user_ids
        )
        await self._welcome(session, chat, user_ids)

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
        await _part(session, membership.chat, user_id)
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
        changed = {user_id}
        if role == Role.OWNER and user_id != asker.user_id:
            membership.member.role = Role.ADMIN
            changed.add(asker.user_id)
        seat.role = role
        await self._tell_roles(session, membership.chat, changed)
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
            .join(tables.User, tables.User.id == tables.Member.user_id)
            .where(tables.Member.chat_id == chat.id, tables.User.kind.in_(("person", "bot")))
            .order_by(
                tables.User.kind.desc(),  # people before bots
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
            left = await self._chats.shared(session, chat)
            await chats.remove(session, chat)
            return left
        await _part(session, chat, membership.member.user_id)
        if membership.role == Role.OWNER and heir.role != Role.OWNER:
            heir.role = Role.OWNER
            await self._tell_roles(session, chat, {heir.user_id})
        return await self._chats.shared(session, chat)

    async def _welcome(self, session: AsyncSession, chat: tables.Chat, user_ids: Sequence[int]) -> None:
        chats.next_version(chat)
        chat.member_count += len(user_ids)
        await session.flush()
        event = MembersAdded(
            chat.id,
            chat.version,
            await self._chats.some_members(session, chat.id, user_ids),
            Seat(Role.MEMBER, chat.last_message_id, chat.last_message_id),
            await self._chats.shared(session, chat),
            await self._chats.last_message(session, chat),
        )
        emit(session, event)

    async def _tell_roles(self, session: AsyncSession, chat: tables.Chat, user_ids: set[int]) -> None:
        chats.next_version(chat)
        await session.flush()
        people = await self._chats.some_members(session, chat.id, user_ids)
        emit(session, MembersUpdated(chat.id, chat.version, people))


async def _part(session: AsyncSession, chat: tables.Chat, user_id: int) -> None:
    """Tell that somebody, whose row is gone already, is no member any more."""
    chats.next_version(chat)
    chat.member_count -= 1
    await session.flush()
    emit(session, MemberRemoved(chat.id, chat.version, user_id))


async def _seat(session: AsyncSession, chat_id: int, user_id: int) -> tables.Member:
    seat = await session.get(tables.Member, (chat_id, user_id), populate_existing=True)
    if seat is None:
        raise NotFound(f"User {user_id} is not in this chat.")
    return seat


async def peers(session: AsyncSession, user_id: int, *, largest: int, limit: int) -> set[int]:
    """Users who share a chat of at most `largest` members with this one; `limit` of them."""
    other = aliased(tables.Member)
    found = await session.scalars(
        select(other.user_id)
        .distinct()
        .join(tables.Member, tables.Member.chat_id == other.chat_id)
        .join(tables.Chat, tables.Chat.id == other.chat_id)
        .where(tables.Member.user_id == user_id, tables.Chat.member_count <= largest)
        .limit(limit)
    )
    return set(found)


async def known_to(session: AsyncSession, user_id: int, among: Collection[int]) -> set[int]:
    """Which of the users `among` share a chat with this one; oneself always does."""
    mine, other = aliased(tables.Member), aliased(tables.Member)
    person = func.unnest(literal(list(among), ARRAY(BigInteger))).table_valued("id").render_derived()
    shared = (
        select(other.chat_id)
        .join(mine, mine.chat_id == other.chat_id)
        .where(other.user_id == person.c.id, mine.user_id == user_id)
        .correlate(person)
        .exists()
    )
    found = await session.scalars(select(person.c.id).where(shared))
    return set(found) | ({user_id} & set(among))


async def last_seen(session: AsyncSession, user_ids: Collection[int]) -> dict[int, datetime | None]:
    rows = await session.execute(
        select(tables.User.id, tables.User.last_seen).where(tables.User.id.in_(user_ids))
    )
    return {row.id: row.last_seen for row in rows}
