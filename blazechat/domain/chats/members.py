"""Members of groups: adding, removing, leaving and roles; and which users share a chat."""

from collections.abc import Collection, Sequence

from sqlalchemy import ARRAY, BigInteger, case, delete, func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from blazechat.database import tables
from blazechat.domain.auth.access import Action, Caller, Membership, chat_for
from blazechat.domain.chats.chat_query import ChatQuery, member_state_of, my_chat
from blazechat.domain.chats.chats import Chats, raise_version
from blazechat.domain.events import MemberRemoved, MembersAdded, MemberState, MembersUpdated, emit
from blazechat.domain.schemas.chats import Chat, MyChat
from blazechat.errors import AlreadyMember, ChatFull, InvalidInput, NotFound, OwnerNeeded
from blazechat.vocabulary import Role


class Members:
    """Changes the members of groups, and emits the events."""

    def __init__(self, chats: Chats, query: ChatQuery) -> None:
        self._chats = chats
        self._query = query

    async def add(
        self, session: AsyncSession, caller: Caller, chat_id: int, user_ids: Sequence[int]
    ) -> MyChat:
        """Add all of these users or, if one cannot be added, none. Return the chat.

        Raises NoSuchChat, Forbidden, DirectChatFixed, NotFound (an unknown user), AlreadyMember, ChatFull,
        InvalidInput.
        """
        membership = await chat_for(session, caller.user_id, chat_id, Action.ADD_MEMBERS)
        if len(set(user_ids)) < len(user_ids):
            raise InvalidInput.of("user_ids", "A user is named more than once.")
        member_ids = set(
            await session.scalars(select(tables.Member.user_id).where(tables.Member.chat_id == chat_id))
        )
        already = member_ids.intersection(user_ids)
        if already:
            raise AlreadyMember(f"User {min(already)} is already a member of this chat.")
        await self._chats.require_users(session, user_ids)
        await self.insert(session, membership.chat, user_ids)
        return await self._query.find(session, caller.user_id, chat_id)

    async def insert(self, session: AsyncSession, chat: tables.Chat, user_ids: Sequence[int]) -> None:
        """Make users members of a locked chat that they are not in. They have no unread messages.

        Raises ChatFull.
        """
        if chat.member_count + len(user_ids) > self._chats.max_members:
            raise ChatFull(f"A chat has at most {self._chats.max_members:,} members. Remove one first.")
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
        await self._emit_added(session, chat, user_ids)

    async def remove(self, session: AsyncSession, caller: Caller, chat_id: int, user_id: int) -> MyChat:
        """Remove a member, or with the caller's own id, leave. Return the chat without that member.

        If the owner leaves, the longest-serving admin becomes the owner, or if there is none, the
        longest-serving member. If the last member leaves, the chat is deleted. Raises NoSuchChat,
        Forbidden, DirectChatFixed, NotFound (no such member).
        """
        if user_id == caller.user_id:
            leaving = await chat_for(session, caller.user_id, chat_id, Action.LEAVE)
            state = member_state_of(leaving.chat, leaving.member)
            return my_chat(await self._leave(session, leaving), state, None)
        membership = await chat_for(session, caller.user_id, chat_id, Action.REMOVE_MEMBER)
        member = await _member(session, chat_id, user_id)
        if member.role != Role.MEMBER:
            membership.require(Action.REMOVE_ADMIN)
        await session.delete(member)
        await _emit_removed(session, membership.chat, user_id)
        return await self._query.find(session, caller.user_id, chat_id)

    async def set_role(
        self, session: AsyncSession, caller: Caller, chat_id: int, user_id: int, role: Role
    ) -> MyChat:
        """Change a member's role, and return the chat. A new owner makes the current owner an admin.

        Raises NoSuchChat, Forbidden, DirectChatFixed, NotFound (no such member), OwnerNeeded (the caller's
        own role).
        """
        membership = await chat_for(session, caller.user_id, chat_id, Action.CHANGE_ROLES)
        member = await _member(session, chat_id, user_id)
        if user_id == caller.user_id and role != Role.OWNER:
            raise OwnerNeeded
        changed = {user_id}
        if role == Role.OWNER and user_id != caller.user_id:
            membership.member.role = Role.ADMIN
            changed.add(caller.user_id)
        member.role = role
        await self._emit_updated(session, membership.chat, changed)
        return await self._query.find(session, caller.user_id, chat_id)

    async def leave_all_groups(self, session: AsyncSession, user_id: int) -> None:
        """Leave every group, in the order of ids: the order in which all transactions lock chats."""
        groups = await session.scalars(
            select(tables.Chat.id)
            .join(tables.Member, tables.Member.chat_id == tables.Chat.id)
            .where(tables.Member.user_id == user_id, tables.Chat.kind == "group")
            .order_by(tables.Chat.id)
        )
        for chat_id in groups.all():
            try:
                membership = await chat_for(session, user_id, chat_id, Action.LEAVE)
            except NotFound:  # since the query, the user was removed, or the chat deleted
                continue
            await self._leave(session, membership)

    async def _leave(self, session: AsyncSession, membership: Membership) -> Chat:
        """Remove a member, and return the chat as it was left."""
        chat = membership.chat
        await session.execute(
            delete(tables.Member).where(
                tables.Member.chat_id == chat.id,
                tables.Member.user_id == membership.member.user_id,
            )
        )
        successor = await _successor(session, chat.id)
        if successor is None:
            left = await self._query.load(session, chat)
            await self._chats.remove(session, chat)
            return left
        await _emit_removed(session, chat, membership.member.user_id)
        if membership.role == Role.OWNER and successor.role != Role.OWNER:
            successor.role = Role.OWNER
            await self._emit_updated(session, chat, {successor.user_id})
        return await self._query.load(session, chat)

    async def _emit_added(self, session: AsyncSession, chat: tables.Chat, user_ids: Sequence[int]) -> None:
        raise_version(chat)
        chat.member_count += len(user_ids)
        await session.flush()
        event = MembersAdded(
            chat.id,
            chat.version,
            await self._query.members_by_id(session, chat.id, user_ids),
            MemberState(Role.MEMBER, chat.last_message_id, chat.last_message_id),
            await self._query.load(session, chat),
            await self._query.last_message(session, chat),
        )
        emit(session, event)

    async def _emit_updated(self, session: AsyncSession, chat: tables.Chat, user_ids: set[int]) -> None:
        raise_version(chat)
        await session.flush()
        members = await self._query.members_by_id(session, chat.id, user_ids)
        emit(session, MembersUpdated(chat.id, chat.version, members))


async def _emit_removed(session: AsyncSession, chat: tables.Chat, user_id: int) -> None:
    """Emit the removal of a member whose row is deleted already."""
    raise_version(chat)
    chat.member_count -= 1
    await session.flush()
    emit(session, MemberRemoved(chat.id, chat.version, user_id))


async def _member(session: AsyncSession, chat_id: int, user_id: int) -> tables.Member:
    member = await session.get(tables.Member, (chat_id, user_id), populate_existing=True)
    if member is None:
        raise NotFound(f"User {user_id} is not a member of this chat.")
    return member


async def _successor(session: AsyncSession, chat_id: int) -> tables.Member | None:
    """Return the member who becomes the owner if the owner leaves; None if only integrations are left."""
    member: tables.Member | None = await session.scalar(
        select(tables.Member)
        .join(tables.User, tables.User.id == tables.Member.user_id)
        .where(tables.Member.chat_id == chat_id, tables.User.kind.in_(("person", "bot")))
        .order_by(
            tables.User.kind.desc(),  # "person" is greater than "bot"
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
    return member


async def peers(session: AsyncSession, user_id: int, *, max_members: int, limit: int) -> set[int]:
    """Return up to `limit` users who share a chat of at most `max_members` members with this user."""
    other = aliased(tables.Member)
    found = await session.scalars(
        select(other.user_id)
        .distinct()
        .join(tables.Member, tables.Member.chat_id == other.chat_id)
        .join(tables.Chat, tables.Chat.id == other.chat_id)
        .where(tables.Member.user_id == user_id, tables.Chat.member_count <= max_members)
        .limit(limit)
    )
    return set(found)


async def known_to(session: AsyncSession, user_id: int, candidates: Collection[int]) -> set[int]:
    """Return which of the candidates share a chat with this user. The user always counts as known."""
    own, other = aliased(tables.Member), aliased(tables.Member)
    candidate = (
        func.unnest(literal(list(candidates), ARRAY(BigInteger))).table_valued("id").render_derived()
    )
    shared_chat = (
        select(other.chat_id)
        .join(own, own.chat_id == other.chat_id)
        .where(other.user_id == candidate.c.id, own.user_id == user_id)
        .correlate(candidate)
        .exists()
    )
    found = await session.scalars(select(candidate.c.id).where(shared_chat))
    return set(found) | ({user_id} & set(candidates))
