"""What the sockets ask of the database, each in a transaction of its own."""

from collections.abc import Collection
from datetime import datetime

from blazechat.database.engine import Database
from blazechat.domain.auth import access, socket_tickets, users
from blazechat.domain.auth.access import Caller
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.chats import members
from blazechat.domain.chats.chat_query import ChatQuery
from blazechat.domain.schemas.chats import MyChat

MAX_PEER_CHAT_MEMBERS = 500
"""`/ws/status` does not send the presence of members of larger chats; `/ws` does, for users that are
subscribed."""
MAX_PEERS = 5000


class Queries:
    """Each method raises Unavailable while the database is away."""

    def __init__(self, database: Database, chat_query: ChatQuery) -> None:
        self._database = database
        self._chat_query = chat_query

    async def claims_of_ticket(self, ticket: str) -> Claims:
        """Redeem a socket ticket. Raises TicketInvalid."""
        async with self._database.transaction() as session:
            return await socket_tickets.redeem(session, ticket)

    async def authenticate(self, claims: Claims) -> Caller:
        """Return the caller of a live session. Raises SessionEnded."""
        async with self._database.transaction() as session:
            return await access.authenticate(session, claims)

    async def as_seen_by(self, chat_id: int, user_ids: Collection[int]) -> dict[int, MyChat]:
        """Return the chat as each member of `user_ids` sees it, by user id."""
        async with self._database.transaction() as session:
            return await self._chat_query.as_seen_by(session, chat_id, user_ids)

    async def peers_of(self, user_id: int) -> set[int]:
        """Return the users who share a chat with a user, without those of very large chats."""
        async with self._database.transaction() as session:
            return await members.peers(session, user_id, max_members=MAX_PEER_CHAT_MEMBERS, limit=MAX_PEERS)

    async def known_to(self, user_id: int, among: Collection[int]) -> set[int]:
        """Return the users of `among` whose presence a user may see."""
        async with self._database.transaction() as session:
            return await members.known_to(session, user_id, among)

    async def last_seen(self, user_ids: Collection[int]) -> dict[int, datetime | None]:
        """Return when each of the users was last online."""
        async with self._database.transaction() as session:
            return await users.last_seen(session, user_ids)

    async def record_last_seen(self, user_ids: list[int]) -> dict[int, datetime]:
        """Store that users are online now; return the stored time per user."""
        async with self._database.transaction() as session:
            return await users.record_last_seen(session, user_ids)
