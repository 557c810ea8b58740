"""Chats: creation, changes and deletion."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth.access import Action, Caller, chat_for
from blazechat.domain.chats.chat_query import ChatQuery
from blazechat.domain.events import ChatCreated, ChatDeleted, ChatUpdated, emit
from blazechat.domain.files import attachments
from blazechat.domain.schemas.chats import ChatInfo, MyChat
from blazechat.errors import Busy, ChatFull, InvalidInput, NotFound
from blazechat.vocabulary import History, Role

RetireIntegrations = Callable[[AsyncSession, int], Awaitable[None]]
"""Deletes the integration users of a chat, which is about to be deleted."""


@dataclass(frozen=True, slots=True)
class ChatDraft:
    """A chat as its creator requested it, not validated yet."""

    user_ids: Collection[int]
    """The other members; the creator may be among them."""
    name: str | None = None
    is_group_chat: bool | None = None
    """With None, one other member and no name make a direct chat, anything else a group."""
    history: History = History.ALL


class Chats:
    """Creates, changes and deletes chats, and emits the events."""

    def __init__(
        self, query: ChatQuery, *, max_members: int, retire_integrations: RetireIntegrations
    ) -> None:
        self.max_members = max_members
        self._query = query
        self._retire_integrations = retire_integrations

    async def create(self, session: AsyncSession, caller: Caller, draft: ChatDraft) -> tuple[MyChat, bool]:
        """Create a chat that the caller owns; return it and True.

        Two users have one direct chat: if it exists already, return it and False. Raises NotFound (an
        unknown user), InvalidInput, ChatFull.
        """
        others = set(draft.user_ids) - {caller.user_id}
        name = validation.chat_name(draft.name)
        is_direct = _is_direct(draft.is_group_chat, name, len(others))
        await self.require_users(session, {*others, caller.user_id})
        if is_direct:
            chat, is_new = await _direct(session, caller.user_id, next(iter(others)), name)
        else:
            chat, is_new = await _group(session, caller.user_id, others, name, draft.history), True
        if is_new:
            event = await self._query.refreshed(session, chat, [caller.user_id, *others])
            emit(session, ChatCreated(chat.id, chat.version, event.chat, event.member_states))
        return await self._query.find(session, caller.user_id, chat.id), is_new

    async def change(
        self,
        session: AsyncSession,
        caller: Caller,
        chat_id: int,
        *,
        name: str | None,
        history: History | None,
    ) -> MyChat:
        """Change the chat's name, or which messages new members see. None leaves a setting as it is.

        Raises NoSuchChat, Forbidden, InvalidInput.
        """
        membership = await chat_for(session, caller.user_id, chat_id, Action.CHANGE_SETTINGS)
        chat = membership.chat
        if name is not None:
            chat.name = validation.chat_name(name)
        if history is not None:
            chat.history = history
        raise_version(chat)
        await session.flush()
        info = ChatInfo(chat.id, chat.name, chat.kind == "group", History(chat.history), chat.member_count)
        emit(session, ChatUpdated(chat.id, chat.version, info))
        return await self._query.find(session, caller.user_id, chat_id)

    async def delete(self, session: AsyncSession, caller: Caller, chat_id: int) -> None:
        """Delete the chat with everything in it. Raises NoSuchChat, Forbidden."""
        membership = await chat_for(session, caller.user_id, chat_id, Action.DELETE_CHAT)
        await self.remove(session, membership.chat)

    async def remove(self, session: AsyncSession, chat: tables.Chat) -> None:
        """Delete a chat whose row is locked, with its messages, members and integration users."""
        await self._retire_integrations(session, chat.id)
        for table in (tables.Message, tables.Reaction):
            await session.execute(delete(table).where(table.chat_id == chat.id))
        await attachments.detach(session, chat.id)  # last, because it locks the rows of files
        await session.execute(delete(tables.Chat).where(tables.Chat.id == chat.id))
        emit(session, ChatDeleted(chat.id, chat.version + 1))

    async def require_users(self, session: AsyncSession, user_ids: Collection[int]) -> None:
        """Lock users against deletion. Raises NotFound if one does not exist, ChatFull if they are too
        many."""
        if len(user_ids) > self.max_members:
            raise ChatFull(f"A chat has at most {self.max_members:,} members. Name fewer users.")
        found = await session.scalars(
            select(tables.User.id)
            .where(tables.User.id.in_(user_ids), tables.User.deleted_at.is_(None))
            .order_by(tables.User.id)
            .with_for_update(read=True)
        )
        missing = sorted(set(user_ids) - set(found))
        if missing:
            raise NotFound(f"There is no user {missing[0]}.")


def raise_version(chat: tables.Chat) -> None:
    """Count a change of the chat itself (not of its messages). The chat's row must be locked."""
    chat.version += 1
    chat.info_version = chat.version


def _is_direct(is_group_chat: bool | None, name: str | None, others: int) -> bool:
    """Return whether a new chat is the direct chat of its creator and another user. Raises InvalidInput."""
    if is_group_chat is None:
        return others == 1 and name is None
    if not is_group_chat and others != 1:
        raise InvalidInput.of(
            "user_ids",
            "A direct chat needs exactly one other user. Leave out is_group_chat to create a group.",
        )
    return not is_group_chat


async def _direct(
    session: AsyncSession, user_id: int, other_id: int, name: str | None
) -> tuple[tables.Chat, bool]:
    """Return the direct chat of two users, and whether it was created now."""
    low, high = sorted((user_id, other_id))
    created = await session.execute(
        insert(tables.Chat)
        .values(kind="direct", name=name, direct_low=low, direct_high=high, member_count=2)
        .on_conflict_do_nothing(index_elements=["direct_low", "direct_high"])
        .returning(tables.Chat.id)
    )
    is_new = created.one_or_none() is not None
    chat = await session.scalar(
        select(tables.Chat).where(tables.Chat.direct_low == low, tables.Chat.direct_high == high)
    )
    if chat is None:  # it existed, and was deleted between the two statements
        raise Busy
    if is_new:
        session.add_all(
            tables.Member(chat_id=chat.id, user_id=member_id, role=Role.OWNER) for member_id in (low, high)
        )
        await session.flush()
    return chat, is_new


async def _group(
    session: AsyncSession, owner_id: int, others: Collection[int], name: str | None, history: History
) -> tables.Chat:
    chat = tables.Chat(kind="group", name=name, history=history, member_count=len(others) + 1)
    session.add(chat)
    await session.flush()
    session.add(tables.Member(chat_id=chat.id, user_id=owner_id, role=Role.OWNER))
    session.add_all(
        tables.Member(chat_id=chat.id, user_id=user_id, role=Role.MEMBER) for user_id in sorted(others)
    )
    await session.flush()
    await session.refresh(chat)
    return chat
