"""Access checks: the only way to obtain a caller, a chat or a message.

A user without access gets the same "not found" as for an id that does not exist. `batch_access.py` has the
same checks for sockets and for the newest messages of chats, in batches.
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

LAST_USED_INTERVAL = timedelta(minutes=1)
"""A session's `last_used_at` is updated when it is older than this."""


class Action(StrEnum):
    """What a member can do in a chat. The values are the rows of the table in docs/api.md."""

    READ = "read messages and receipts"
    SEND = "send, edit and delete own messages, react"
    PIN = "pin and unpin messages"
    DELETE_OTHERS = "delete others' messages"
    CHANGE_SETTINGS = "rename, change settings"
    ADD_MEMBERS = "add members"
    REMOVE_MEMBER = "remove members"
    REMOVE_ADMIN = "remove admins"
    CHANGE_ROLES = "change roles, hand over ownership"
    DELETE_CHAT = "delete the chat"
    MANAGE_WEBHOOKS = "manage outgoing webhooks"
    MANAGE_INTEGRATIONS = "manage incoming webhooks and slash commands"
    LEAVE = "leave"


_ALL = frozenset(Role)
_ADMINS = frozenset({Role.OWNER, Role.ADMIN})
_OWNER = frozenset({Role.OWNER})

ALLOWED_ROLES: dict[Action, frozenset[Role]] = {
    Action.READ: _ALL,
    Action.SEND: _ALL,
    Action.PIN: _ALL,
    Action.DELETE_OTHERS: _ADMINS,
    Action.CHANGE_SETTINGS: _ADMINS,
    Action.ADD_MEMBERS: _ADMINS,
    Action.REMOVE_MEMBER: _ADMINS,
    Action.REMOVE_ADMIN: _OWNER,
    Action.CHANGE_ROLES: _OWNER,
    Action.DELETE_CHAT: _OWNER,
    Action.MANAGE_WEBHOOKS: _ADMINS,
    Action.MANAGE_INTEGRATIONS: _ADMINS,
    Action.LEAVE: _ALL,
}
"""All permissions in a chat. docs/api.md has the same table, and a test compares the two."""

GROUP_ONLY_ACTIONS = frozenset(
    {
        Action.ADD_MEMBERS,
        Action.REMOVE_MEMBER,
        Action.REMOVE_ADMIN,
        Action.CHANGE_ROLES,
        Action.MANAGE_INTEGRATIONS,
        Action.LEAVE,
    }
)
"""Actions that change members or roles, or need another member. A direct chat has none: its two members are
both owners."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The user and the session of a request. The session was valid when this transaction checked it."""

    user_id: int
    session_id: int
    is_admin: bool
    session_expires_at: datetime
    grant: Grant


@dataclass(frozen=True, slots=True)
class Membership:
    """The row of a chat and the row of one of its members."""

    chat: tables.Chat
    member: tables.Member

    @property
    def role(self) -> Role:
        return Role(self.member.role)

    @property
    def visible_after(self) -> int:
        """The member sees messages with greater ids than this."""
        return self.member.joined_id if self.chat.history == History.JOINED else 0

    def permits(self, action: Action) -> bool:
        return self.role in ALLOWED_ROLES[action]

    def require(self, action: Action) -> None:
        """Raises DirectChatFixed or Forbidden if this member may not do this in this chat."""
        if self.chat.kind == "direct" and action in GROUP_ONLY_ACTIONS:
            raise DirectChatFixed
        if not self.permits(action):
            raise Forbidden(
                f"Your role in this chat ({self.role}) does not permit this: {action}. Ask its owner."
            )


async def authenticate(session: AsyncSession, claims: Claims) -> Caller:
    """Return the caller with these claims. Raises SessionEnded if their session is not valid any more."""
    found = await session.execute(
        select(tables.Session.last_used_at, tables.Session.expires_at, tables.User.is_admin)
        .join(tables.User, tables.User.id == tables.Session.user_id)
        .where(
            tables.Session.id == claims.session_id,
            tables.Session.user_id == claims.user_id,
            tables.Session.revoked_at.is_(None),
            tables.User.deleted_at.is_(None),
        )
    )
    row = found.one_or_none()
    now = datetime.now(UTC)
    if row is None or row.expires_at <= now:
        raise SessionEnded
    if now - row.last_used_at > LAST_USED_INTERVAL:
        await session.execute(
            update(tables.Session).where(tables.Session.id == claims.session_id).values(last_used_at=now)
        )
    return Caller(claims.user_id, claims.session_id, row.is_admin, row.expires_at, claims.grant)


def require_admin(caller: Caller) -> None:
    """Raises Forbidden unless the caller is an administrator of the server."""
    if not caller.is_admin:
        raise Forbidden("Only administrators of this server may do this. Ask one of them.")


def require_self(caller: Caller, user_id: int) -> None:
    """Raises Forbidden unless `user_id` is the caller's own account."""
    if caller.user_id != user_id:
        raise Forbidden("You may do this with your own account only.")


async def chat_for(
    session: AsyncSession, user_id: int, chat_id: int, action: Action = Action.READ
) -> Membership:
    """Return the chat if the user is a member whose role permits `action`.

    For every action except READ, the chat's row is locked first, so that role and members stay the same
    until the transaction ends. Raises NoSuchChat if the user is not a member, as for a chat that does not
    exist. Raises Forbidden or DirectChatFixed if the member may not do this.
    """
    if action is not Action.READ:
        await lock_chat(session, chat_id)
    found = await session.execute(
        select(tables.Chat, tables.Member)
        .join(tables.Member, tables.Member.chat_id == tables.Chat.id)
        .where(tables.Chat.id == chat_id, tables.Member.user_id == user_id)
        .execution_options(populate_existing=True)
    )
    row = found.one_or_none()
    if row is None:
        raise NoSuchChat
    membership = Membership(row[0], row[1])
    membership.require(action)
    return membership


async def lock_chat(session: AsyncSession, chat_id: int) -> None:
    """Lock a chat's row until the transaction ends; transactions that lock more rows lock it first.

    It is a separate statement, so that the next one sees everything that was committed before the lock.
    """
    await session.execute(
        select(tables.Chat.id).where(tables.Chat.id == chat_id).with_for_update(key_share=True)
    )


async def message_for(session: AsyncSession, membership: Membership, message_id: int) -> tables.Message:
    """Return the message if this member can see it. Raises NoSuchMessage."""
    message = None
    if message_id > membership.visible_after:
        message = await session.get(
            tables.Message, (membership.chat.id, message_id), populate_existing=True
        )
    if message is None:
        raise NoSuchMessage
    return message
