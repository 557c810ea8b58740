"""Reads chats and members in their public form."""

from collections.abc import Collection, Sequence

from sqlalchemy import ARRAY, BigInteger, ColumnElement, func, literal, select, true, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth import users
from blazechat.domain.auth.access import Caller, Membership, chat_for
from blazechat.domain.events import ChatRefreshed, MemberState
from blazechat.domain.messaging.message_query import find
from blazechat.domain.schemas.chats import Chat, MyChat
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Member, StatusOf
from blazechat.errors import NoSuchChat
from blazechat.vocabulary import History, Role

MAX_USERS_IN_CHAT = 100
"""Members in `Chat.users`. Further members are read in pages."""


class ChatQuery:
    """Reads chats. `status_of` returns the presence of their members."""

    def __init__(self, status_of: StatusOf) -> None:
        self._status_of = status_of

    async def find(self, session: AsyncSession, user_id: int, chat_id: int) -> MyChat:
        """Return the chat as this member sees it. Raises NoSuchChat."""
        await chat_for(session, user_id, chat_id)
        found = await self._load_for(session, user_id, [chat_id])
        if not found:  # the member was removed after the check
            raise NoSuchChat
        return found[0]

    async def listed(self, session: AsyncSession, caller: Caller, *, limit: int, skip: int) -> list[MyChat]:
        """Return the caller's chats, those with the latest message first."""
        latest = func.coalesce(tables.Message.created_at, tables.Chat.created_at)
        chat_ids = await session.scalars(
            select(tables.Chat.id)
            .join(tables.Member, tables.Member.chat_id == tables.Chat.id)
            .outerjoin(
                tables.Message,
                (tables.Message.chat_id == tables.Chat.id)
                & (tables.Message.id == tables.Chat.last_message_id),
            )
            .where(tables.Member.user_id == caller.user_id, is_granted(caller))
            .order_by(latest.desc(), tables.Chat.id.desc())
            .offset(skip)
            .limit(limit)
        )
        return await self._load_for(session, caller.user_id, chat_ids.all())

    async def members(
        self, session: AsyncSession, caller: Caller, chat_id: int, *, limit: int, after: int
    ) -> list[Member]:
        """Return members with ids greater than `after`, by id. Raises NoSuchChat."""
        await chat_for(session, caller.user_id, chat_id)
        return (await self._members(session, [chat_id], limit, after)).get(chat_id, [])

    async def members_by_id(
        self, session: AsyncSession, chat_id: int, user_ids: Collection[int]
    ) -> list[Member]:
        """Return those of the users who are members of the chat, by id."""
        rows = await session.execute(
            select(tables.Member.role, tables.User)
            .join(tables.User, tables.User.id == tables.Member.user_id)
            .where(tables.Member.chat_id == chat_id, tables.Member.user_id.in_(user_ids))
            .order_by(tables.User.id)
            .execution_options(populate_existing=True)
        )
        return [users.member_of(row.User, Role(row.role), self._status_of) for row in rows]

    async def load(self, session: AsyncSession, chat: tables.Chat) -> Chat:
        """Return the fields of a chat that are the same for all members."""
        members = await self._members(session, [chat.id], MAX_USERS_IN_CHAT)
        return chat_of(chat, members.get(chat.id, []))

    async def last_message(self, session: AsyncSession, chat: tables.Chat) -> Message | None:
        found = await find(
            session, tables.Message.chat_id == chat.id, tables.Message.id == chat.last_message_id
        )
        return found[0] if found else None

    async def refreshed(
        self, session: AsyncSession, chat: tables.Chat, user_ids: Collection[int]
    ) -> ChatRefreshed:
        """Return the current state of a chat, with the state of those of the users who are members."""
        member = tables.Member
        rows = await session.execute(
            select(member)
            .where(
                member.chat_id == chat.id,
                member.user_id == func.any(literal(list(user_ids), ARRAY(BigInteger))),
            )
            .execution_options(populate_existing=True)
        )
        states = {row.user_id: member_state_of(chat, row) for row in rows.scalars()}
        return ChatRefreshed(
            chat.id,
            chat.info_version,
            await self.load(session, chat),
            await self.last_message(session, chat),
            states,
            frozenset(user_ids),
        )

    async def as_seen_by(
        self, session: AsyncSession, chat_id: int, user_ids: Collection[int]
    ) -> dict[int, MyChat]:
        """Return the chat as each of the users sees it, by user id, without users who are not members."""
        chat = await session.get(tables.Chat, chat_id, populate_existing=True)
        if chat is None:
            return {}
        event = await self.refreshed(session, chat, user_ids)
        return {
            user_id: my_chat(event.chat, state, event.last_message)
            for user_id, state in event.member_states.items()
        }

    async def _load_for(self, session: AsyncSession, user_id: int, chat_ids: Sequence[int]) -> list[MyChat]:
        """Return these chats of the user, in this order."""
        rows = await session.execute(
            select(tables.Chat, tables.Member)
            .join(tables.Member, tables.Member.chat_id == tables.Chat.id)
            .where(tables.Chat.id.in_(chat_ids), tables.Member.user_id == user_id)
            .execution_options(populate_existing=True)
        )
        memberships = {chat.id: Membership(chat, member) for chat, member in rows}
        members = await self._members(session, chat_ids, MAX_USERS_IN_CHAT)
        last_messages = await _visible_last_messages(session, memberships.values())
        return [
            my_chat(
                chat_of(memberships[chat_id].chat, members.get(chat_id, [])),
                member_state_of(memberships[chat_id].chat, memberships[chat_id].member),
                last_messages.get(chat_id),
            )
            for chat_id in chat_ids
            if chat_id in memberships
        ]

    async def _members(
        self, session: AsyncSession, chat_ids: Sequence[int], limit: int, after: int = 0
    ) -> dict[int, list[Member]]:
        """Return, per chat, the first `limit` members with ids greater than `after`."""
        if not chat_ids:
            return {}
        pages = union_all(
            *(
                select(tables.Member.chat_id, tables.Member.user_id, tables.Member.role)
                .where(tables.Member.chat_id == chat_id, tables.Member.user_id > after)
                .order_by(tables.Member.user_id)
                .limit(limit)
                .subquery()
                .select()
                for chat_id in chat_ids
            )
        ).subquery()
        rows = await session.execute(
            select(pages.c.chat_id, pages.c.role, tables.User)
            .join(tables.User, tables.User.id == pages.c.user_id)
            .order_by(pages.c.chat_id, tables.User.id)
        )
        members: dict[int, list[Member]] = {}
        for row in rows:
            member = users.member_of(row.User, Role(row.role), self._status_of)
            members.setdefault(row.chat_id, []).append(member)
        return members


async def _visible_last_messages(
    session: AsyncSession, memberships: Collection[Membership]
) -> dict[int, Message]:
    """Return the last message per chat, without those that the member cannot see."""
    visible = [
        (membership.chat.id, membership.chat.last_message_id)
        for membership in memberships
        if membership.chat.last_message_id > membership.visible_after
    ]
    found = await find(session, tuple_(tables.Message.chat_id, tables.Message.id).in_(visible))
    return {message.chat_id: message for message in found}


def is_granted(caller: Caller) -> ColumnElement[bool]:
    """Return the condition of a query for chats: the caller's token permits the chat."""
    chat_ids = caller.grant.chat_ids
    return true() if chat_ids is None else tables.Chat.id.in_(chat_ids)


def chat_of(chat: tables.Chat, members: list[Member]) -> Chat:
    """Return the fields of a chat that are the same for all members."""
    return Chat(
        id=chat.id,
        name=chat.name,
        is_group_chat=chat.kind == "group",
        history=History(chat.history),
        created_at=chat.created_at,
        users=members,
        member_count=chat.member_count,
        last_message_id=chat.last_message_id,
        version=chat.version,
    )


def member_state_of(chat: tables.Chat, member: tables.Member) -> MemberState:
    """Return the state of a member of the chat.

    `member` must not be loaded before `chat`: a send might move the read cursor from one to the other.
    """
    authors = dict(zip(chat.author_ids, chat.author_read_ids, strict=True))
    read_id = max(member.read_id, authors.get(member.user_id, 0))
    return MemberState(Role(member.role), read_id, member.joined_id)


def my_chat(chat: Chat, state: MemberState, last_message: Message | None) -> MyChat:
    """Return the chat as a member with this state sees it."""
    if chat.history == History.JOINED and chat.last_message_id <= state.joined_id:
        last_message = None
    return MyChat(
        id=chat.id,
        name=chat.name,
        is_group_chat=chat.is_group_chat,
        history=chat.history,
        created_at=chat.created_at,
        users=chat.users,
        member_count=chat.member_count,
        last_message_id=chat.last_message_id,
        version=chat.version,
        role=state.role,
        read_id=state.read_id,
        unread=max(0, chat.last_message_id - state.read_id),
        last_message=last_message,
    )
