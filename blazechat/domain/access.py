"""The only doors: to an account, a chat, a message, a socket. Whoever is not let in sees nothing there.

`MAY` is the whole table of who may do what in a chat; docs/api.md shows it and a test compares.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import asyncpg
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.direct import Direct
from blazechat.domain.batches import Batches
from blazechat.domain.errors import DirectChatFixed, Error, Forbidden, NotFound, Unauthenticated
from blazechat.domain.shapes import History, Role
from blazechat.domain.tokens import Claims

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


@dataclass(frozen=True, slots=True)
class Membership:
    """A chat, as far as one of its members is concerned."""

    chat: tables.Chat
    member: tables.Member

    @property
    def role(self) -> Role:
        return Role(self.member.role)

    @property
    def visible_from(self) -> int:
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chat stands that somebody is in, and since which message they are."""

    chat_id: int
    version: int
    last_message_id: int
    joined_id: int
    from_joining: bool
    """Whether they may not see what was said before that."""


PLACE = ("chat_ids", "versions", "newest", "joined", "from_joining")
"""The columns of ARRIVE that have a Place's fields, in their order."""


@dataclass(frozen=True, slots=True)
class Arrival:
    session_expires_at: datetime
    places: list[Place]

    def place_in(self, chat_id: int) -> Place:
        """Raises NotFound."""
        for place in self.places:
            if place.chat_id == chat_id:
                return place
        raise NotFound("There is no such chat, or you are not in it.")


@dataclass(frozen=True, slots=True)
class Glance:
    """Where a chat stands, and behind which message its member may read."""

    version: int
    last_message_id: int
    visible_from: int


ARRIVE = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::int8[], $2::int8[]) WITH ORDINALITY AS i (session_id, user_id, place)
), used AS (
    UPDATE sessions SET last_used_at = now()
    WHERE id = ANY ($1::int8[]) AND last_used_at < now() - interval '1 minute'
)
SELECT s.expires_at, c.* FROM input i
LEFT JOIN (sessions s JOIN users u ON u.id = s.user_id AND u.deleted_at IS NULL)
    ON s.id = i.session_id AND s.user_id = i.user_id
    AND s.revoked_at IS NULL AND s.expires_at > now()
LEFT JOIN LATERAL (
    SELECT array_agg(c.id) AS chat_ids, array_agg(c.version) AS versions,
        array_agg(c.last_message_id) AS newest, array_agg(m.joined_id) AS joined,
        array_agg(c.history = 'joined') AS from_joining
    FROM members m JOIN chats c ON c.id = m.chat_id WHERE m.user_id = s.user_id
) c ON true
ORDER BY i.place
"""

GLANCE = """
SELECT s.id AS session_id, c.version, c.last_message_id,
    CASE WHEN c.history = 'joined' THEN m.joined_id ELSE 0 END AS visible_from
FROM unnest($1::int8[], $2::int8[], $3::int8[]) WITH ORDINALITY AS i (session_id, user_id, chat_id, place)
LEFT JOIN sessions s ON s.id = i.session_id AND s.user_id = i.user_id
    AND s.revoked_at IS NULL AND s.expires_at > now()
LEFT JOIN members m ON m.chat_id = i.chat_id AND m.user_id = s.user_id
LEFT JOIN chats c ON c.id = m.chat_id
ORDER BY i.place
"""


async def caller(session: AsyncSession, claims: Claims) -> Caller:
    """Whoever holds a token with these claims, if their session has not ended since.

    Raises Unauthenticated.
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
        raise Unauthenticated("This session has ended; log in again.")
    if now - row.last_used_at > USE_NOTED_EVERY:
        await session.execute(
            update(tables.Session).where(tables.Session.id == claims.session_id).values(last_used_at=now)
        )
    return Caller(claims.user_id, claims.session_id, row.is_admin, row.expires_at)


class Door:
    """Lets sockets in, and askers for a chat's newest messages: many at once, with one statement."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct
        self._arrivals: Batches[Claims, Arrival] = Batches(self._arrive)
        self._glances: Batches[tuple[Claims, int], Glance] = Batches(self._glance)

    async def arrive(self, claims: Claims) -> Arrival:
        """Whoever holds a token with these claims, with all their chats. Raises Unauthenticated."""
        return await self._arrivals.ask(claims)

    async def glance(self, claims: Claims, chat_id: int) -> Glance:
        """What of a chat they may see, by its numbers. Raises Unauthenticated, NotFound."""
        return await self._glances.ask((claims, chat_id))

    async def close(self) -> None:
        await self._arrivals.close()
        await self._glances.close()

    async def _arrive(self, all_claims: list[Claims]) -> list[Arrival | Error]:
        rows = await self._direct.fetch(
            ARRIVE,
            [claims.session_id for claims in all_claims],
            [claims.user_id for claims in all_claims],
        )
        return [
            Arrival(
                row["expires_at"],
                [Place(*each) for each in zip(*(row[name] or () for name in PLACE), strict=True)],
            )
            if row["expires_at"] is not None
            else Unauthenticated("This session has ended; log in again.")
            for row in rows
        ]

    async def _glance(self, asked: list[tuple[Claims, int]]) -> list[Glance | Error]:
        rows = await self._direct.fetch(
            GLANCE,
            [claims.session_id for claims, _ in asked],
            [claims.user_id for claims, _ in asked],
            [chat_id for _, chat_id in asked],
        )
        return [_glance_of(row) for row in rows]


def _glance_of(row: asyncpg.Record) -> Glance | Error:
    if row["session_id"] is None:
        return Unauthenticated("This session has ended; log in again.")
    if row["version"] is None:
        return NotFound("There is no such chat, or you are not in it.")
    return Glance(row["version"], row["last_message_id"], row["visible_from"])


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
        raise NotFound("There is no such chat, or you are not in it.")
    membership = Membership(row[0], row[1])
    membership.require(action)
    return membership


async def message_for(session: AsyncSession, membership: Membership, message_id: int) -> tables.Message:
    """The message, if it is visible to this member. Raises NotFound."""
    message = None
    if message_id > membership.visible_from:
        message = await session.get(
            tables.Message, (membership.chat.id, message_id), populate_existing=True
        )
    if message is None:
        raise NotFound("There is no such message in this chat, or you may not see it.")
    return message
