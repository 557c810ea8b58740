"""FAST_APPEND and its cache: whatever has changed since a chat was cached, results are those of APPEND."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blazechat.database.engine import Database
from blazechat.domain.events import MemberRemoved, MessageUpdated
from blazechat.domain.messaging.chat_heads import MAX_AUTHORS_IN_CHAT
from blazechat.domain.messaging.fast_append import FAST_APPEND, FAST_APPEND_AND_MOVE
from blazechat.domain.messaging.ledger import MAX_SKIPPED_ROUNDS, Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.errors import ClientIdConflict, InvalidInput, NotFound, Unauthenticated
from tests.domain.ledger_harness import LedgerHarness, started_ledger


async def _cache(harness: LedgerHarness, *senders: tuple[int, int]) -> None:
    """Have the ledger cache senders, pairs of chat and user, by one message of each."""
    for chat, author in senders:
        await harness.send("hello", chat=chat, author=author)
    harness.statements.clear()


async def test_cached_senders_are_stored_by_fast_append(dsn: str) -> None:
    """APPEND checks only the first batch of each sender."""
    async with started_ledger(dsn) as harness:
        await harness.send("first")
        assert harness.statements == ["append"]
        sends = [harness.send(f"{n}", author=1) for n in range(30)]
        assert [(await send).id for send in sends] == list(range(2, 32))
        assert set(harness.statements[1:]) == {"fast_append"}
        await harness.send("another author", author=2)
        assert harness.statements[-1] == "append"
        await asyncio.gather(harness.send("a", author=1), harness.send("b", author=2))
        assert harness.statements[-1] == "fast_append"
        rows = await harness.rows()
        assert [row["id"] for row in rows] == [row["version"] - 1 for row in rows] == list(range(1, 35))
        chat = await harness.connection.fetchrow("SELECT version, last_message_id FROM chats WHERE id = 1")
        assert chat is not None
        assert tuple(chat) == (35, 34)
        assert await harness.read_cursors(chat=1) == {1: 33, 2: 34, 3: 0}


async def test_member_removed_after_caching_cannot_send(dsn: str) -> None:
    """Other members of the chat, and other chats of the removed member, are not affected."""
    async with started_ledger(dsn) as harness:
        await _cache(harness, (1, 1), (1, 2), (2, 1))
        await harness.connection.execute("DELETE FROM members WHERE chat_id = 1 AND user_id = 1")
        await harness.connection.execute("UPDATE chats SET version = version + 1 WHERE id = 1")
        rejected = harness.send("x")
        others, elsewhere = harness.send("y", author=2), harness.send("z", chat=2)
        with pytest.raises(NotFound):
            await rejected
        assert (await others).id == 3
        assert (await elsewhere).id == 2
        assert harness.statements[0] == "fast_append"
        assert [row["content"] for row in await harness.rows()] == ["hello", "hello", "y"]


async def test_newer_version_of_a_cached_chat_evicts_its_earlier_senders(dsn: str) -> None:
    """Another member's send caches the chat at a newer version, without a check of the first sender."""
    async with started_ledger(dsn) as harness:
        await _cache(harness, (1, 1))
        await harness.connection.execute("DELETE FROM members WHERE chat_id = 1 AND user_id = 1")
        await harness.connection.execute("UPDATE chats SET version = version + 1 WHERE id = 1")
        await harness.send("x", author=2)
        with pytest.raises(NotFound):
            await harness.send("y")
        assert harness.statements == ["append", "append"]


@pytest.mark.parametrize("ending", ["revoked_at = now()", "expires_at = now()", "user_id = 3"])
async def test_session_that_ended_after_caching_cannot_send(dsn: str, ending: str) -> None:
    """Sends of other sessions in the same batch are stored."""
    async with started_ledger(dsn) as harness:
        await _cache(harness, (1, 1), (1, 2))
        await harness.connection.execute(f"UPDATE sessions SET {ending} WHERE id = 1")
        rejected, others = harness.send("x"), harness.send("y", author=2)
        with pytest.raises(Unauthenticated):
            await rejected
        assert (await others).id == 3
        assert harness.statements[0] == "fast_append"


@pytest.mark.parametrize("name", ["username", "display_name"])
async def test_author_renamed_after_caching_has_the_new_name(dsn: str, name: str) -> None:
    """A message has its author's name as of its commit."""
    async with started_ledger(dsn) as harness:
        await _cache(harness, (1, 1))
        await harness.connection.execute(f"UPDATE users SET {name} = 'new' WHERE id = 1")
        assert getattr((await harness.send("x")).user, name) == "new"
        assert harness.statements == ["fast_append", "fast_append", "append"]


async def test_members_cannot_reply_to_messages_that_they_cannot_see(dsn: str) -> None:
    """With `history` set to `joined`, these are the messages before the author joined."""
    async with started_ledger(dsn) as harness:
        await harness.connection.execute("UPDATE chats SET history = 'joined' WHERE id = 1")
        await harness.connection.execute(
            "UPDATE members SET joined_id = 2 WHERE chat_id = 1 AND user_id = 2"
        )
        await _cache(harness, (1, 1), (1, 1), (1, 1), (1, 2))
        for invisible in (1, 2, 5):
            with pytest.raises(InvalidInput):
                await harness.send("x", author=2, reply_to=invisible)
        harness.statements.clear()
        assert (await harness.send("x", author=2, reply_to=3)).reply_to == 3
        assert (await harness.send("x", author=1, reply_to=1)).reply_to == 1
        assert harness.statements == ["fast_append", "fast_append"]


async def test_retry_in_a_fast_append_returns_the_first_message(dsn: str) -> None:
    """Another body is a conflict. The rest of the batch is stored once."""
    async with started_ledger(dsn) as harness:
        await _cache(harness, (1, 1), (1, 2))
        first = await harness.send("x", client_id="c")
        retry, other = harness.send("x", client_id="c"), harness.send("y", author=2)
        assert (await retry).id == first.id
        assert (await other).id == first.id + 1
        assert harness.statements == ["fast_append", "fast_append", "append"]
        with pytest.raises(ClientIdConflict):
            await harness.send("z", client_id="c")
        assert [row["content"] for row in await harness.rows()] == ["hello", "hello", "x", "y"]


async def test_cache_follows_changes_made_outside_the_ledger(dsn: str) -> None:
    """A published edit costs no attempt. An unpublished one costs one, and a removal evicts the chat."""
    async with started_ledger(dsn) as harness:
        message = await harness.send("hello")
        raise_version = "UPDATE chats SET version = version + 1 WHERE id = 1 RETURNING version"
        harness.statements.clear()
        version = await harness.connection.fetchval(raise_version)
        harness.ledger.handle(MessageUpdated(1, version, replace(message, version=version)))
        await harness.send("published")
        assert harness.statements == ["fast_append"]
        await harness.connection.fetchval(raise_version)
        await harness.send("not published")
        assert harness.statements == ["fast_append", "fast_append", "append"]
        version = await harness.connection.fetchval(raise_version)
        harness.ledger.handle(MemberRemoved(1, version, 3))
        await harness.send("evicted")
        assert harness.statements == ["fast_append", "fast_append", "append", "append"]
        harness.ledger.handle(MessageUpdated(1, version, message))  # older than the cached version
        await harness.send("still cached")
        assert harness.statements[-1] == "fast_append"


async def test_locked_cached_chat_does_not_delay_other_chats(dsn: str) -> None:
    async with started_ledger(dsn) as harness:
        await _cache(harness, (1, 1), (2, 1))
        lock = harness.connection.transaction()
        await lock.start()
        await harness.connection.execute("SELECT FROM chats WHERE id = 1 FOR UPDATE")
        locked = [harness.send(f"locked {n}") for n in range(3)]
        for n in range(MAX_SKIPPED_ROUNDS + 3):
            async with asyncio.timeout(5):
                assert (await harness.send(f"other {n}", chat=2)).id == n + 2
        locked.append(harness.send("locked 3"))
        assert not any(future.done() for future in locked)
        await lock.rollback()
        assert [(await future).id for future in locked] == [2, 3, 4, 5]
        assert [row["content"] for row in await harness.rows()][1:] == [f"locked {n}" for n in range(4)]


@pytest.mark.parametrize("stored", [False, True])
async def test_connection_lost_in_a_fast_append_stores_every_send_once(dsn: str, stored: bool) -> None:
    """The ledger cannot know whether the batch was committed; it sends the batch again."""

    class BreakingDatabase(Database):
        breaks = 0

        async def connect(self, **options: str) -> Any:
            return BreakingConnection(await super().connect(**options))

    class BreakingConnection:
        def __init__(self, connection: asyncpg.Connection) -> None:
            self._connection = connection

        async def fetch(self, statement: str, *arguments: Any) -> Any:
            if statement != FAST_APPEND or BreakingDatabase.breaks:
                return await self._connection.fetch(statement, *arguments)
            BreakingDatabase.breaks += 1
            if stored:
                await self._connection.fetch(statement, *arguments)
            self._connection.terminate()
            raise ConnectionResetError("cut off by the test")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    async with started_ledger(dsn) as harness:
        database = BreakingDatabase(dsn)
        ledger = Ledger(database, harness.published.append, max_queued=100, timeout=10)
        ledger.start()
        sends = []
        for n in range(20):
            sends.append(ledger.send(Sender(1, 1), MessageDraft(1, f"m{n}")))
            if n % 5 == 0:
                await sends[-1]
        ids = [(await send).id for send in sends]
        assert BreakingDatabase.breaks == 1
        assert ids == list(range(1, 21))
        assert [row["content"] for row in await harness.rows()] == [f"m{n}" for n in range(20)]
        assert [event.message.id for event in harness.published] == ids
        await ledger.drain()
        await database.close()


async def test_cursors_of_many_authors_are_moved_to_their_memberships(dsn: str) -> None:
    """The chat's row holds a limited number; no cursor is lost on the way, and none goes back."""
    everyone = range(5, 5 + MAX_AUTHORS_IN_CHAT + 10)
    async with started_ledger(dsn) as harness:
        await harness.connection.execute(
            "INSERT INTO users (id, username, display_name) OVERRIDING SYSTEM VALUE"
            " SELECT n, 'u' || n, 'u' || n FROM unnest($1::int8[]) n",
            list(everyone),
        )
        await harness.connection.execute(
            "INSERT INTO sessions (id, user_id, family_hash, token_hash, device, address, expires_at)"
            " OVERRIDING SYSTEM VALUE"
            " SELECT n, n, n::text::bytea, '', '', '', now() + '1 day' FROM unnest($1::int8[]) n",
            list(everyone),
        )
        await harness.connection.execute(
            "INSERT INTO members (chat_id, user_id, role) SELECT 1, n, 'member' FROM unnest($1::int8[]) n",
            list(everyone),
        )
        newest: dict[int, int] = {}
        for _ in range(3):
            sends = {author: harness.send("x", author=author) for author in everyone}
            for author, send in sends.items():
                newest[author] = (await send).id
            cursors = await harness.read_cursors(chat=1)
            assert {author: cursors[author] for author in everyone} == newest
        assert FAST_APPEND_AND_MOVE in [query.query for query in harness.queries]
        held = await harness.connection.fetchval("SELECT cardinality(author_ids) FROM chats WHERE id = 1")
        assert held <= MAX_AUTHORS_IN_CHAT


async def test_cache_is_bounded(dsn: str) -> None:
    """It evicts the chats that were cached first, and caches them again."""
    async with started_ledger(dsn, max_senders=2) as harness:
        await _cache(harness, (1, 1), (2, 1), (3, 1), (3, 2))
        assert (await harness.send("x", chat=3)).id == 3
        assert (await harness.send("x", chat=1)).id == 2
        assert harness.statements == ["fast_append", "append"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.just("remove"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.just("add"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.just("edit"), st.integers(1, 2), st.integers(1, 3)),
        st.tuples(st.sampled_from(["end", "begin"]), st.just(0), st.integers(1, 3)),
    ),
    min_size=4,
    max_size=40,
)
CHANGES = {
    "remove": "DELETE FROM members WHERE chat_id = $1 AND user_id = $2",
    "add": "INSERT INTO members (chat_id, user_id, role) VALUES ($1, $2, 'member') ON CONFLICT DO NOTHING",
    "edit": "SELECT $1::int8, $2::int8",
    "end": "UPDATE sessions SET revoked_at = now() WHERE $1::int8 = 0 AND id = $2",
    "begin": "UPDATE sessions SET revoked_at = NULL WHERE $1::int8 = 0 AND id = $2",
}


class _Model:
    """The members and sessions as of now, and the result that each send must have."""

    def __init__(self) -> None:
        self.members = {(chat, user) for chat in (1, 2) for user in (1, 2, 3)}
        self.ended: set[int] = set()
        self.sent: dict[int, list[int]] = {1: [], 2: []}
        """The ids of each chat's messages."""
        self._pending: list[tuple[int, int, asyncio.Future[Any], type[Exception] | None]] = []

    def change(self, kind: str, chat: int, user: int) -> None:
        if kind in ("remove", "add"):
            (self.members.discard if kind == "remove" else self.members.add)((chat, user))
        elif kind in ("end", "begin"):
            (self.ended.add if kind == "end" else self.ended.discard)(user)

    def send(self, chat: int, user: int, future: asyncio.Future[Any]) -> None:
        error: type[Exception] | None = Unauthenticated if user in self.ended else None
        if error is None and (chat, user) not in self.members:
            error = NotFound
        self._pending.append((chat, user, future, error))

    async def check_results(self) -> None:
        """Check that each send has the result it must have, and that ids of an author are ascending."""
        latest: dict[tuple[int, int], int] = {}
        for chat, user, future, error in self._pending:
            if error is not None:
                with pytest.raises(error):
                    await future
                continue
            message = await future
            assert message.id > latest.get((chat, user), 0)
            latest[chat, user] = message.id
            self.sent[chat].append(message.id)
        self._pending.clear()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_sends_are_checked_against_committed_members_and_sessions(
    dsn: str, steps: list[tuple[str, int, int]]
) -> None:
    """Each send sees all changes that were committed before it, in random sequences; ids have no gaps."""
    async with started_ledger(dsn) as harness:
        model = _Model()
        for kind, chat, user in steps:
            if kind == "send":
                model.send(chat, user, harness.send("x", chat=chat, author=user))
                continue
            await model.check_results()
            async with harness.connection.transaction():
                await harness.connection.execute(
                    "UPDATE chats SET version = version + 1 WHERE id = $1", chat
                )
                await harness.connection.execute(CHANGES[kind], chat, user)
            model.change(kind, chat, user)
        await model.check_results()
        for chat, ids in model.sent.items():
            assert sorted(ids) == [row["id"] for row in await harness.rows(chat)]
            assert sorted(ids) == list(range(1, len(ids) + 1))
