"""Chats: finding, creating, renaming and deleting them, and telling about it."""

from collections.abc import Collection, Sequence

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    func,
    literal,
    select,
    text,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth import sessions, users
from blazechat.domain.auth.access import Action, Caller, Membership, chat_for
from blazechat.domain.events import (
    ChatCreated,
    ChatDeleted,
    ChatRefreshed,
    ChatUpdated,
    Seat,
    emit,
)
from blazechat.domain.files import attachments
from blazechat.domain.messaging.message_query import find
from blazechat.domain.schemas.chats import Chat, ChatInfo, MyChat
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Member, StatusOf
from blazechat.errors import Busy, ChatFull, InvalidInput, NoSuchChat, NotFound
from blazechat.vocabulary import History, Role

USERS_SHOWN = 100
"""Members that a chat is shown with; the rest is found page by page."""

SPEAKERS = text("""
SELECT user_id FROM incoming_webhooks WHERE chat_id = :chat_id
UNION ALL SELECT user_id FROM slash_commands WHERE chat_id = :chat_id
""")
"""The accounts that speak for a chat's webhooks and commands."""


class Chats:
    """Everything about chats that shows people, and so whether they are here (`status_of`)."""

    def __init__(self, status_of: StatusOf, max_members: int) -> None:
        self.status_of = status_of
        self.max_members = max_members

    async def create(
        self,
        session: AsyncSession,
        asker: Caller,
        *,
        name: str | None,
        is_group_chat: bool | None,
        user_ids: Collection[int],
        history: History = History.ALL,
    ) -> tuple[MyChat, bool]:
        """A chat of the asker with these users, and whether it is new.

        With exactly one other user, and unless a group is asked for, it is the direct chat of the
        two, of which there is one. Raises NotFound for an unknown user, InvalidInput, ChatFull.
        """
        others = set(user_ids) - {asker.user_id}
        if is_group_chat is False and len(others) != 1:
            raise InvalidInput.of("user_ids", "A direct chat is with exactly one other user.")
        name = validation.chat_name(name)
        await self.require_people(session, {*others, asker.user_id})
        if len(others) == 1 and not is_group_chat:
            chat, new = await _direct(session, asker.user_id, next(iter(others)), name)
        else:
            chat, new = await self._group(session, asker.user_id, others, name, history), True
        if new:
            people = [asker.user_id, *others]
            event = await self.refreshed(session, chat, people)
            emit(session, ChatCreated(chat.id, chat.version, event.chat, event.seats))
        return await self.mine(session, asker.user_id, chat.id), new

    async def change(
        self,
        session: AsyncSession,
        asker: Caller,
        chat_id: int,
        *,
        name: str | None,
        history: History | None,
    ) -> MyChat:
        """Rename the chat, or change who may read what was said before they joined."""
        membership = await chat_for(session, asker.user_id, chat_id, Action.RENAME)
        chat = membership.chat
        if name is not None:
            chat.name = validation.chat_name(name)
        if history is not None:
            chat.history = history
        next_version(chat)
        await session.flush()
        info = ChatInfo(chat.id, chat.name, chat.kind == "group", History(chat.history), chat.member_count)
        emit(session, ChatUpdated(chat.id, chat.version, info))
        return await self.mine(session, asker.user_id, chat_id)

    async def mine(self, session: AsyncSession, user_id: int, chat_id: int) -> MyChat:
        """The chat as this member sees it. Raises NotFound."""
        await chat_for(session, user_id, chat_id)
        shown = await self._shown(session, user_id, [chat_id])
        if not shown:  # somebody removed them a moment ago
            raise NoSuchChat
        return shown[0]

    async def listed(self, session: AsyncSession, asker: Caller, *, limit: int, skip: int) -> list[MyChat]:
        """The asker's chats, those with the latest message first."""
        latest = func.coalesce(tables.Message.created_at, tables.Chat.created_at)
        chat_ids = await session.scalars(
            select(tables.Chat.id)
            .join(tables.Member, tables.Member.chat_id == tables.Chat.id)
            .outerjoin(
                tables.Message,
                (tables.Message.chat_id == tables.Chat.id)
                & (tables.Message.id == tables.Chat.last_message_id),
            )
            .where(tables.Member.user_id == asker.user_id, granted_chats(asker))
            .order_by(latest.desc(), tables.Chat.id.desc())
            .offset(skip)
            .limit(limit)
        )
        return await self._shown(session, asker.user_id, chat_ids.all())

    async def members(
        self, session: AsyncSession, asker: Caller, chat_id: int, *, limit: int, after: int
    ) -> list[Member]:
        """A page of the chat's members in the order of their ids, from behind the id `after`."""
        await chat_for(session, asker.user_id, chat_id)
        return (await self._people(session, [chat_id], limit, after)).get(chat_id, [])

    async def shared(self, session: AsyncSession, chat: tables.Chat) -> Chat:
        """The chat as it is for everybody in it."""
        people = await self._people(session, [chat.id], USERS_SHOWN)
        return chat_of(chat, people.get(chat.id, []))

    async def last_message(self, session: AsyncSession, chat: tables.Chat) -> Message | None:
        found = await find(
            session, tables.Message.chat_id == chat.id, tables.Message.id == chat.last_message_id
        )
        return found[0] if found else None

    async def refreshed(
        self, session: AsyncSession, chat: tables.Chat, among: Collection[int]
    ) -> ChatRefreshed:
        """Everything about the chat but its messages, and who of the users `among` are in it."""
        rows = await session.execute(
            select(
                tables.Member.user_id, tables.Member.role, tables.Member.read_id, tables.Member.joined_id
            ).where(
                tables.Member.chat_id == chat.id,
                tables.Member.user_id == func.any(literal(list(among), ARRAY(BigInteger))),
            )
        )
        seats = {row.user_id: Seat(Role(row.role), row.read_id, row.joined_id) for row in rows}
        return ChatRefreshed(
            chat.id,
            chat.info_version,
            await self.shared(session, chat),
            await self.last_message(session, chat),
            seats,
        )

    async def as_seen_by(
        self, session: AsyncSession, chat_id: int, user_ids: Collection[int]
    ) -> dict[int, MyChat]:
        """The chat from the seats of those of the users who are in it."""
        chat = await session.get(tables.Chat, chat_id, populate_existing=True)
        if chat is None:
            return {}
        event = await self.refreshed(session, chat, user_ids)
        return {
            user_id: my_chat(event.chat, seat, event.last_message) for user_id, seat in event.seats.items()
        }

    async def some_members(
        self, session: AsyncSession, chat_id: int, user_ids: Collection[int]
    ) -> list[Member]:
        """These users as members of the chat, by their ids."""
        rows = await session.execute(
            select(tables.Member.role, tables.User)
            .join(tables.User, tables.User.id == tables.Member.user_id)
            .where(tables.Member.chat_id == chat_id, tables.Member.user_id.in_(user_ids))
            .order_by(tables.User.id)
            .execution_options(populate_existing=True)
        )
        return [self._member(row.role, row.User) for row in rows]

    async def require_people(self, session: AsyncSession, user_ids: Collection[int]) -> None:
        """Raises NotFound unless all of them are users; keeps them from being deleted meanwhile."""
        if len(user_ids) > self.max_members:
            raise ChatFull(f"A chat has at most {self.max_members:,} members.")
        found = await session.scalars(
            select(tables.User.id)
            .where(tables.User.id.in_(user_ids), tables.User.deleted_at.is_(None))
            .order_by(tables.User.id)
            .with_for_update(read=True)
        )
        missing = sorted(set(user_ids) - set(found))
        if missing:
            raise NotFound(f"There is no user {missing[0]}.")

    async def _group(
        self,
        session: AsyncSession,
        owner_id: int,
        others: Collection[int],
        name: str | None,
        history: History,
    ) -> tables.Chat:
        count = len(others) + 1
        chat = tables.Chat(kind="group", name=name, history=history, member_count=count)
        session.add(chat)
        await session.flush()
        session.add(tables.Member(chat_id=chat.id, user_id=owner_id, role=Role.OWNER))
        session.add_all(
            tables.Member(chat_id=chat.id, user_id=user_id, role=Role.MEMBER) for user_id in sorted(others)
        )
        await session.flush()
        await session.refresh(chat)
        return chat

    async def _shown(self, session: AsyncSession, user_id: int, chat_ids: Sequence[int]) -> list[MyChat]:
        """These chats of the user, in this order."""
        me = tables.Member
        rows = await session.execute(
            select(tables.Chat, me)
            .join(me, me.chat_id == tables.Chat.id)
            .where(tables.Chat.id.in_(chat_ids), me.user_id == user_id)
            .execution_options(populate_existing=True)
        )
        found = {chat.id: Membership(chat, member) for chat, member in rows}
        people = await self._people(session, chat_ids, USERS_SHOWN)
        newest = await find(
            session,
            tuple_(tables.Message.chat_id, tables.Message.id).in_(
                [
                    (chat_id, membership.chat.last_message_id)
                    for chat_id, membership in found.items()
                    if membership.chat.last_message_id > membership.visible_after
                ]
            ),
        )
        last = {message.chat_id: message for message in newest}
        return [
            my_chat(
                chat_of(found[chat_id].chat, people.get(chat_id, [])),
                seat_of(found[chat_id].member),
                last.get(chat_id),
            )
            for chat_id in chat_ids
            if chat_id in found
        ]

    async def _people(
        self, session: AsyncSession, chat_ids: Sequence[int], limit: int, after: int = 0
    ) -> dict[int, list[Member]]:
        """The first `limit` members of each chat, from behind the id `after`."""
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
        people: dict[int, list[Member]] = {}
        for row in rows:
            people.setdefault(row.chat_id, []).append(self._member(row.role, row.User))
        return people

    def _member(self, role: str, user: tables.User) -> Member:
        shown = users.profile(user, self.status_of)
        return Member(
            shown.id,
            shown.username,
            shown.display_name,
            shown.created_at,
            shown.last_seen,
            shown.status,
            shown.is_bot,
            Role(role),
        )


def next_version(chat: tables.Chat) -> int:
    """Raise the version of a chat whose row is locked, for a change of the chat itself."""
    chat.version += 1
    chat.info_version = chat.version
    return chat.version


async def delete(session: AsyncSession, asker: Caller, chat_id: int) -> None:
    """Remove the chat with everything in it. Owners only."""
    membership = await chat_for(session, asker.user_id, chat_id, Action.DELETE_CHAT)
    await remove(session, membership.chat)


async def remove(session: AsyncSession, chat: tables.Chat) -> None:
    """Remove a chat whose row is locked, its messages and its members, and who spoke there for webhooks."""
    speakers = (await session.scalars(SPEAKERS, {"chat_id": chat.id})).all()
    for user_id in speakers:
        await sessions.end_all(session, user_id, tokens=True)
    over = {"username_key": None, "deleted_at": func.now()}
    await session.execute(update(tables.User).where(tables.User.id.in_(speakers)).values(over))
    for kind in (tables.Message, tables.Reaction):
        await session.execute(sql_delete(kind).where(kind.chat_id == chat.id))
    await attachments.release(session, chat.id)  # last: the rows of files are held for a moment only
    await session.execute(sql_delete(tables.Chat).where(tables.Chat.id == chat.id))
    emit(session, ChatDeleted(chat.id, chat.version + 1))


def my_chat(chat: Chat, seat: Seat, last_message: Message | None) -> MyChat:
    """`chat` from the seat of one member."""
    if chat.history == History.JOINED and chat.last_message_id <= seat.joined_id:
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
        role=seat.role,
        read_id=seat.read_id,
        unread=max(0, chat.last_message_id - seat.read_id),
        last_message=last_message,
    )


def granted_chats(asker: Caller) -> ColumnElement[bool]:
    """For a query of chats: those that the asker's token is good for."""
    chat_ids = asker.grant.chat_ids
    return true() if chat_ids is None else tables.Chat.id.in_(chat_ids)


async def _direct(
    session: AsyncSession, user_id: int, other_id: int, name: str | None
) -> tuple[tables.Chat, bool]:
    """The direct chat of the two, and whether it was made just now."""
    low, high = sorted((user_id, other_id))
    created = await session.execute(
        insert(tables.Chat)
        .values(kind="direct", name=name, direct_low=low, direct_high=high, member_count=2)
        .on_conflict_do_nothing(index_elements=["direct_low", "direct_high"])
        .returning(tables.Chat.id)
    )
    new = created.one_or_none() is not None
    chat = await session.scalar(
        select(tables.Chat).where(tables.Chat.direct_low == low, tables.Chat.direct_high == high)
    )
    if chat is None:  # it was there, and was deleted just now
        raise Busy
    if new:
        session.add_all(
            tables.Member(chat_id=chat.id, user_id=member_id, role=Role.OWNER) for member_id in (low, high)
        )
        await session.flush()
    return chat, new


def seat_of(member: tables.Member) -> Seat:
    return Seat(Role(member.role), member.read_id, member.joined_id)


def chat_of(chat: tables.Chat, users: list[Member]) -> Chat:
    return Chat(
        id=chat.id,
        name=chat.name,
        is_group_chat=chat.kind == "group",
        history=History(chat.history),
        created_at=chat.created_at,
        users=users,
        member_count=chat.member_count,
        last_message_id=chat.last_message_id,
        version=chat.version,
    )
