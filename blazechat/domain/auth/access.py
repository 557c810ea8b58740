"""The only doors: to an account, a chat, a message. Whoever is not let in sees nothing there.

The one for what comes by the thousand, sockets and newest pages, is in `door.py`.

`MAY` is the whole table of who may do what in a chat; docs/api.md shows it and a test compares.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.scopes import Grant
from blazechat.errors import DirectChatFixed, Forbidden, NoSuchChat, NoSuchMessage, SessionEnded
from blazechat.vocabulary import History, Role

USE_NOTED_EVERY = timedelta(minutes=1)


class Action(StrEnum):
    READ = "read messages and receipts"
    SEND = "send, edit and delete own messages, react"
    PIN = "pin and unpin messages"
    DELETE_ANY = "delete others' messages"
    RENAME = "rename, change settings"
    ADD = "add members"
    REMOVE_MEMBER = "remove members"
    REMOVE_ADMIN = "remove admins"
    PROMOTE = "change roles, hand over ownership"
    DELETE_CHAT = "delete the chat"
    HOOK = "manage webhooks"
    LEAVE = "leave"


_ALL = frozenset(Role)
_ADMINS = frozenset({Role.OWNER, Role.ADMIN})
_OWNER = frozenset({Role.OWNER})

MAY: dict[Action, frozenset[Role]] = {
    Action.READ: _ALL,
    Action.SEND: _ALL,
    Action.PIN: _ALL,
    Action.DELETE_ANY: _ADMINS,
    Action.RENAME: _ADMINS,
    Action.ADD: _ADMINS,
    Action.REMOVE_MEMBER: _ADMINS,
    Action.REMOVE_ADMIN: _OWNER,
    Action.PROMOTE: _OWNER,
    Action.DELETE_CHAT: _OWNER,
    Action.HOOK: _ADMINS,
    Action.LEAVE: _ALL,
}

IN_GROUPS_ONLY = frozenset(
    {Action.ADD, Action.REMOVE_MEMBER, Action.REMOVE_ADMIN, Action.PROMOTE, Action.LEAVE}
)
"""Both people of a direct chat are its owners; what would change who they are is not possible."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose session was alive when this transaction began."""

    user_id: int
    session_id: int
    is_admin: bool
    session_expires_at: datetime
    grant: Grant


@dataclass(frozen=True, slots=True)
class Membership:
    """A chat, as far as one of its members is concerned."""

    chat: tables.Chat
    member: tables.Member

    @property
    def role(self) -> Role:
        return Role(self.member.role)

    @property
    def visible_after(self) -> int:
        """Messages with greater ids may be seen by this member."""
        return self.member.joined_id if self.chat.history == History.JOINED else 0

    def may(self, action: Action) -> bool:
        return self.role in MAY[action]

    def require(self, action: Action) -> None:
        """Raises DirectChatFixed or Forbidden."""
        if self.chat.kind == "direct" and action in IN_GROUPS_ONLY:
            raise DirectChatFixed
        if not self.may(action):
            raise Forbidden(f"Your role in this chat ({self.role}) does not let you: {action}.")


async def caller(session: AsyncSession, claims: Claims) -> Caller:
    """Whoever holds a token with these claims, if their session has not ended since.

    Raises SessionEnded.
    """
    row = (
        await session.execute(
            select(tables.Session.last_used_at, tables.Session.expires_at, tables.User.is_admin)
            .join(tables.User, tables.User.id == tables.Session.user_id)
            .where(
                tables.Session.id == claims.session_id,
                tables.Session.user_id == claims.user_id,
                tables.Session.revoked_at.is_(None),
                tables.User.deleted_at.is_(None),
            )
        )
    ).one_or_none()
    now = datetime.now(UTC)
    if row is None or row.expires_at <= now:
        raise SessionEnded
    if now - row.last_used_at > USE_NOTED_EVERY:
        await session.execute(
            update(tables.Session).where(tables.Session.id == claims.session_id).values(last_used_at=now)
        )
    return Caller(claims.user_id, claims.session_id, row.is_admin, row.expires_at, claims.grant)


def require_admin(asker: Caller) -> None:
    if not asker.is_admin:
        raise Forbidden("Only administrators of this server may do this.")


def require_self(asker: Caller, user_id: int) -> None:
    if asker.user_id != user_id:
        raise Forbidden("You may do this to your own account only.")


async def chat_for(
    session: AsyncSession, user_id: int, chat_id: int, action: Action = Action.READ
) -> Membership:
    """The chat, if the user is a member whose role allows `action`.

    For every action but READ the chat's row is locked first, so that role and members stay as they
    were found until the transaction ends. Raises NotFound to strangers and former members, as if
    there were no such chat; Forbidden or DirectChatFixed to members.
    """
    if action is not Action.READ:
        # A statement of its own: the next one then sees whatever was committed before the lock.
        await session.execute(
            select(tables.Chat.id).where(tables.Chat.id == chat_id).with_for_update(key_share=True)
        )
    row = (
        await session.execute(
            select(tables.Chat, tables.Member)
            .join(tables.Member, tables.Member.chat_id == tables.Chat.id)
            .where(tables.Chat.id == chat_id, tables.Member.user_id == user_id)
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if row is None:
        raise NoSuchChat
    membership = Membership(row[0], row[1])
    membership.require(action)
    return membership


async def message_for(session: AsyncSession, membership: Membership, message_id: int) -> tables.Message:
    """The message, if it is visible to this member. Raises NotFound."""
    message = None
    if message_id > membership.visible_after:
        message = await session.get(
            tables.Message, (membership.chat.id, message_id), populate_existing=True
        )
    if message is None:
        raise NoSuchMessage
    return message
