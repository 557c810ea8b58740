"""The ledger: what it promises for any content and any interleaving of sends and retries.

1. An acknowledged message is stored, with the same content.
2. A `client_id` is stored once, however often it is sent; with another body it is a conflict.
3. The ids of a chat are 1 to n, without gaps.
4. If a send was acknowledged before another one began, its id is the smaller one.
"""

import asyncio
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blazechat.database.engine import Database
from blazechat.domain.messaging.ledger import MAX_SKIPPED_ROUNDS, Ledger
from blazechat.domain.messaging.sends import MessageDraft, QueuedSend, Sender
from blazechat.domain.messaging.unanswered import UnansweredSends
from blazechat.domain.schemas.messages import Message
from blazechat.errors import (
    Busy,
    ClientIdConflict,
    Error,
    NotFound,
    ShuttingDown,
    Unauthenticated,
    Unavailable,
)
from tests.conftest import NewDatabase
from tests.domain.ledger_harness import LedgerHarness, started_ledger
from tests.harness import eventually

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
).filter(lambda text: any(not c.isspace() and c.isprintable() for c in text))

SENDS = st.lists(
    st.tuples(
        st.integers(1, 3),  # chat
        st.integers(1, 3),  # author
        st.integers(1, 6),  # client_id
        TEXT,
        st.booleans(),  # wait for all results so far before the next send
    ),
    min_size=1,
    max_size=40,
)


SendKey = tuple[int, int, str]
"""Chat, author and `client_id` of a send."""


class _Results:
    """Collects the results of sends, and checks each one against the send."""

    def __init__(self) -> None:
        self.acknowledged: dict[SendKey, Message] = {}
        """The first message that was returned per key."""
        self.orders: list[tuple[Message, Message]] = []
        """Pairs of messages: the first was acknowledged before the second was sent."""
        self._pending: list[tuple[SendKey, str, asyncio.Future[Message]]] = []

    def add(self, key: SendKey, content: str, future: asyncio.Future[Message]) -> None:
        self._pending.append((key, content, future))

    async def collect(self) -> None:
        """Wait for the results of all sends that were added since the last call."""
        acknowledged, pending = self.acknowledged, self._pending
        earlier_messages = list(acknowledged.values())
        for key, content, future in pending:
            try:
                message = await future
            except ClientIdConflict:
                assert key in acknowledged or key in [other for other, _, _ in pending]
                continue
            assert message.content == content
            first = acknowledged.setdefault(key, message)
            assert (first.id, first.content) == (message.id, content)
            if first is message:
                self.orders.extend((earlier, message) for earlier in earlier_messages)
        pending.clear()


async def _check_chat(harness: LedgerHarness, chat: int, acknowledged: dict[SendKey, Message]) -> None:
    """Check that a chat has the acknowledged messages and no others, with ids 1 to n."""
    rows = await harness.rows(chat)
    assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
    versions = [row["version"] for row in rows]
    assert versions == sorted(set(versions))
    assert {(row["author_id"], row["client_id"]): row["content"] for row in rows} == {
        (author, client_id): message.content
        for (its_chat, author, client_id), message in acknowledged.items()
        if its_chat == chat
    }
    state = await harness.connection.fetchrow("SELECT * FROM chats WHERE id = $1", chat)
    assert state is not None
    assert (state["last_message_id"], state["version"]) == (len(rows), len(rows) + 1)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(sends=SENDS)
async def test_every_interleaving_of_sends_keeps_the_promises(
    dsn: str, sends: list[tuple[int, int, int, str, bool]]
) -> None:
    """Promises 1 to 4, for random sends of which many are retries and some are conflicts."""
    async with started_ledger(dsn) as harness:
        results = _Results()
        for chat, author, number, content, wait in sends:
            key = (chat, author, f"c{number}")
            try:
                future = harness.send(content, chat=chat, author=author, client_id=key[2])
            except ClientIdConflict:
                continue
            results.add(key, content, future)
            if wait:
                await results.collect()
        await results.collect()

        for chat in (1, 2, 3):
            await _check_chat(harness, chat, results.acknowledged)
        assert all(a.id < b.id for a, b in results.orders if a.chat_id == b.chat_id)
        published = [(event.chat_id, event.version) for event in harness.published]
        # A retry may be published again; hubs drop it.
        assert len(set(published)) == len(results.acknowledged)
        for chat in (1, 2, 3):
            versions = list(dict.fromkeys(v for c, v in published if c == chat))
            assert versions == sorted(versions)


async def test_rejected_sends_do_not_affect_the_rest_of_their_batch(dsn: str) -> None:
    """A sender who is not a member, an unknown chat or session, and a reply to an unknown message."""
    async with started_ledger(dsn) as harness:
        stored = [harness.send(f"stored {n}") for n in range(5)]
        rejected = [
            (harness.send("stranger", author=4), NotFound),
            (harness.send("no such chat", chat=99), NotFound),
            (harness.send("no such session", session_id=99), Unauthenticated),
            (harness.send("another's session", session_id=2), Unauthenticated),
            (harness.send("reply", reply_to=50), Error),
        ]
        stored += [harness.send(f"more {n}") for n in range(5)]
        assert [(await future).id for future in stored] == list(range(1, 11))
        for future, kind in rejected:
            with pytest.raises(kind):
                await future
        assert len(await harness.rows()) == 10


async def test_send_that_makes_the_statement_fail_fails_alone(dsn: str) -> None:
    """PostgreSQL rejects the whole batch because of one send; the other sends are stored, in order."""
    async with started_ledger(dsn) as harness:
        await harness.connection.execute(
            "ALTER TABLE messages ADD CONSTRAINT poison CHECK (content <> 'poison')"
        )
        try:
            futures = [harness.send("poison" if n == 3 else f"m{n}") for n in range(8)]
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert [isinstance(result, Message) for result in results] == [n != 3 for n in range(8)]
            assert [row["content"] for row in await harness.rows()] == [f"m{n}" for n in range(8) if n != 3]
        finally:
            await harness.connection.execute("ALTER TABLE messages DROP CONSTRAINT poison")


async def test_locked_chat_does_not_delay_other_chats(dsn: str) -> None:
    """Sends to the locked chat wait in order, while sends to another chat are stored."""
    async with started_ledger(dsn) as harness:
        lock = harness.connection.transaction()
        await lock.start()
        await harness.connection.execute("SELECT FROM chats WHERE id = 1 FOR UPDATE")
        locked = []
        for n in range(3):  # in separate batches, so that the first is retried while others arrive
            locked.append(harness.send(f"locked {n}"))
            await asyncio.sleep(0)
        for n in range(MAX_SKIPPED_ROUNDS + 3):
            async with asyncio.timeout(5):
                assert (await harness.send(f"other {n}", chat=2)).id == n + 1
        locked += [harness.send(f"locked {n}") for n in range(3, 6)]
        assert not any(future.done() for future in locked)
        await lock.rollback()
        assert [(await future).id for future in locked] == [1, 2, 3, 4, 5, 6]
        assert [row["content"] for row in await harness.rows()] == [f"locked {n}" for n in range(6)]


async def test_member_removed_while_their_send_waits_cannot_send(dsn: str) -> None:
    """The removal holds the lock of the chat's row; the send is checked after it has committed."""
    async with started_ledger(dsn) as harness:
        removal = harness.connection.transaction()
        await removal.start()
        await harness.connection.execute("SELECT FROM chats WHERE id = 1 FOR UPDATE")
        send = harness.send("too late")
        await harness.wait_for("SELECT FROM pg_locks WHERE NOT granted")
        await harness.connection.execute("DELETE FROM members WHERE chat_id = 1 AND user_id = 1")
        await harness.connection.execute("UPDATE chats SET version = version + 1 WHERE id = 1")
        await removal.commit()
        with pytest.raises(NotFound):
            await send
        assert await harness.rows() == []


async def test_member_removed_between_snapshot_and_lock_cannot_send(new_database: NewDatabase) -> None:
    """The removal commits after APPEND took its snapshot, and before APPEND locks the chat's row."""
    dsn = await new_database()
    async with started_ledger(dsn) as harness:
        # From here on, to read chat 1 takes 150 ms; the statement's snapshot is older than its lock.
        await harness.connection.execute(
            """
            CREATE FUNCTION read_slowly(id int8) RETURNS bool LANGUAGE plpgsql VOLATILE AS
            $$ BEGIN IF id = 1 THEN PERFORM pg_sleep(0.15); END IF; RETURN true; END $$;
            ALTER TABLE chats RENAME TO real_chats;
            CREATE VIEW chats AS SELECT * FROM real_chats WHERE read_slowly(id);
            """
        )
        send = harness.send("too late")
        await harness.wait_for("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        async with harness.connection.transaction():
            await harness.connection.execute("UPDATE real_chats SET version = version + 1 WHERE id = 1")
            await harness.connection.execute("DELETE FROM members WHERE chat_id = 1 AND user_id = 1")
        with pytest.raises(NotFound):
            await send
        assert await harness.rows() == []
        await harness.connection.execute("DROP VIEW chats; ALTER TABLE real_chats RENAME TO chats")


async def test_retry_publishes_a_message_that_was_stored_but_not_published(dsn: str) -> None:
    """The process that stored the message ended before it published the event."""
    async with started_ledger(dsn) as harness:
        await harness.send("x", client_id="c")
        harness.published.clear()  # as if another process had stored it, and had ended then
        await harness.send("x", client_id="c")
        assert [event.message.content for event in harness.published] == ["x"]


async def test_ended_session_cannot_send(dsn: str) -> None:
    """The ledger checks the session itself: an access token stays valid after its session has ended."""
    async with started_ledger(dsn) as harness:
        await harness.send("before")
        await harness.connection.execute("UPDATE sessions SET revoked_at = now() WHERE id = 1")
        with pytest.raises(Unauthenticated):
            await harness.send("after")
        await harness.connection.execute("UPDATE sessions SET expires_at = now() WHERE id = 2")
        with pytest.raises(Unauthenticated):
            await harness.send("after", author=2)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_lost_connection_stores_and_publishes_every_send_once(dsn: str, moment: str) -> None:
    """The connection breaks before the statement is executed, or after its commit."""

    class BreakingDatabase(Database):
        attempts = 0

        async def connect(self, **settings: str) -> Any:
            connection = await super().connect(**settings)
            return BreakingConnection(connection, self, moment)

    class BreakingConnection:
        def __init__(self, connection: asyncpg.Connection, database: BreakingDatabase, moment: str) -> None:
            self._connection, self._database, self._moment = connection, database, moment

        async def fetch(self, *arguments: Any) -> Any:
            self._database.attempts += 1
            if self._database.attempts > 3:
                return await self._connection.fetch(*arguments)
            if self._moment == "after":
                await self._connection.fetch(*arguments)
            self._connection.terminate()
            raise ConnectionResetError("cut off by the test")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    async with started_ledger(dsn) as harness:
        database = BreakingDatabase(dsn)
        ledger = Ledger(database, harness.published.append, max_queued=100, timeout=10)
        ledger.start()
        futures = [ledger.send(Sender(1, 1), MessageDraft(1, f"m{n}")) for n in range(20)]
        ids = [(await future).id for future in futures]
        assert ids == list(range(1, 21))
        assert [row["content"] for row in await harness.rows()] == [f"m{n}" for n in range(20)]
        assert [event.message.id for event in harness.published] == ids
        await ledger.drain()
        await database.close()


async def test_send_fails_as_unavailable_when_the_database_is_away_too_long(dsn: str) -> None:
    """It fails after the timeout of the ledger; sends after the database is back are stored."""
    async with started_ledger(dsn) as harness:
        reachable = False

        class UnreachableDatabase(Database):
            async def connect(self, **settings: str) -> asyncpg.Connection:
                if not reachable:
                    raise ConnectionRefusedError
                return await super().connect(**settings)

        ledger = Ledger(UnreachableDatabase(dsn), harness.published.append, max_queued=100, timeout=0.2)
        ledger.start()
        with pytest.raises(Unavailable):
            await ledger.send(Sender(1, 1), MessageDraft(1, "lost"))
        reachable = True
        message = await ledger.send(Sender(1, 1), MessageDraft(1, "back"))
        assert message.id == 1
        await ledger.drain()


async def test_full_queue_is_busy_and_drain_stores_the_queued_sends(dsn: str) -> None:
    """After `drain()` began, further sends fail with `shutting_down`."""
    async with started_ledger(dsn, max_queued=10) as harness:
        futures = [harness.send(f"{n}") for n in range(10)]
        with pytest.raises(Busy):
            harness.send("one too many")
        draining = asyncio.create_task(harness.ledger.drain())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            harness.send("too late")
        await draining
        assert all(future.done() for future in futures)
        assert len(await harness.rows()) == 10


async def test_two_nodes_store_one_history_per_chat(dsn: str) -> None:
    """Two ledgers get the same sends to the same chats: each is stored once, and ids have no gaps."""
    async with started_ledger(dsn) as harness:
        other = Ledger(harness.database, harness.published.append, max_queued=10_000, timeout=10)
        other.start()
        futures = []
        for n in range(200):
            for ledger in (harness.ledger, other):
                author = n % 2 + 1
                draft = MessageDraft(n % 3 + 1, f"m{n}", f"c{n}")
                send = ledger.send(Sender(author, author), draft)
                futures.append(send)
            if n % 20 == 0:
                await asyncio.sleep(0)
        messages = await asyncio.gather(*futures)
        for first, second in zip(messages[::2], messages[1::2], strict=True):
            assert (first.chat_id, first.id) == (second.chat_id, second.id)
        for chat in (1, 2, 3):
            ids = [row["id"] for row in await harness.rows(chat)]
            assert ids == list(range(1, len(ids) + 1))
        assert sum([len(await harness.rows(chat)) for chat in (1, 2, 3)]) == 200
        await other.drain()


async def test_cancelled_caller_does_not_affect_other_sends(dsn: str) -> None:
    """The cancelled caller's message may be stored or not."""
    async with started_ledger(dsn) as harness:
        futures = [harness.send(f"{n}") for n in range(6)]
        futures[2].cancel()
        rest = [future for n, future in enumerate(futures) if n != 2]
        ids = [(await future).id for future in rest]
        assert ids == sorted(ids)
        await eventually(lambda: not harness.ledger._unanswered)


async def test_author_who_sends_a_lot_does_not_delay_other_authors(dsn: str) -> None:
    """At most 1,000 of 1,500 queued sends of one author are stored before the single send of another."""
    async with started_ledger(dsn) as harness:
        many = [harness.send(f"{n}") for n in range(1500)]
        one = harness.send("one", author=2)
        message = await one
        assert sum(send.done() for send in many) <= 1000
        assert message.id <= 1000
        assert [(await send).content for send in many] == [f"{n}" for n in range(1500)]
        contents = [row["content"] for row in await harness.rows() if row["author_id"] == 1]
        assert contents == [f"{n}" for n in range(1500)]


def test_send_that_has_a_result_is_not_reported_again() -> None:
    """A send whose message was reported while its batch failed gets no error as well."""
    reported: list[Message | Error] = []
    unanswered = UnansweredSends(10)
    send = QueuedSend(1, 1, 1, "c", "x", None, None, (), None, 0.0, [reported.append])
    unanswered.add(send)
    unanswered.fail([send], Unavailable())
    unanswered.fail_expired([send], Busy())
    assert [type(each) for each in reported] == [Unavailable]
