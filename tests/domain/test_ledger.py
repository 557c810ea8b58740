"""The ledger against promises 1 to 4: any content, any interleaving of sends and retries."""

import asyncio
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blazechat.database.engine import Database
from blazechat.domain.messaging.ledger import MAX_SKIPPED_ROUNDS, Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
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
from tests.domain.stage import scene
from tests.harness import eventually

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
).filter(lambda text: any(not c.isspace() and c.isprintable() for c in text))

SENDS = st.lists(
    st.tuples(
        st.integers(1, 3),  # chat
        st.integers(1, 3),  # author
        st.integers(1, 6),  # which client_id
        TEXT,
        st.booleans(),  # wait for the answers so far before the next
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(sends=SENDS)
async def test_any_sends_in_any_interleaving(
    dsn: str, sends: list[tuple[int, int, int, str, bool]]
) -> None:
    """Promises 1 to 4 at once, on random sends of which many are retries and some are conflicts."""
    async with scene(dsn) as stage:
        acknowledged: dict[tuple[int, int, str], Message] = {}
        orders: list[tuple[Message, Message]] = []
        pending: list[tuple[tuple[int, int, str], str, asyncio.Future[Message]]] = []

        async def collect() -> None:
            answered = list(acknowledged.values())
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
                    orders.extend((earlier, message) for earlier in answered)
            pending.clear()

        for chat, author, number, content, wait in sends:
            key = (chat, author, f"c{number}")
            try:
                future = stage.send(content, chat=chat, author=author, client_id=key[2])
            except ClientIdConflict:
                continue
            pending.append((key, content, future))
            if wait:
                await collect()
        await collect()

        for chat in (1, 2, 3):
            rows = await stage.rows(chat)
            assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
            versions = [row["version"] for row in rows]
            assert versions == sorted(set(versions))
            assert {(row["author_id"], row["client_id"]): row["content"] for row in rows} == {
                (author, client_id): message.content
                for (its_chat, author, client_id), message in acknowledged.items()
                if its_chat == chat
            }
            state = await stage.connection.fetchrow("SELECT * FROM chats WHERE id = $1", chat)
            assert state is not None
            assert (state["last_message_id"], state["version"]) == (len(rows), len(rows) + 1)
        assert all(a.id < b.id for a, b in orders if a.chat_id == b.chat_id)
        told = [(event.chat_id, event.version) for event in stage.published]
        assert len(set(told)) == len(acknowledged)  # retries may be told again; hubs drop them
        for chat in (1, 2, 3):
            first_told = list(dict.fromkeys(v for c, v in told if c == chat))
            assert first_told == sorted(first_told)


async def test_bad_sends_in_a_batch_fail_alone(dsn: str) -> None:
    """A stranger, an ended session, an unknown chat, a reply to nothing: the others are stored."""
    async with scene(dsn) as stage:
        good = [stage.send(f"good {n}") for n in range(5)]
        bad = [
            (stage.send("stranger", author=4), NotFound),
            (stage.send("no such chat", chat=99), NotFound),
            (stage.send("no such session", session_id=99), Unauthenticated),
            (stage.send("another's session", session_id=2), Unauthenticated),
            (stage.send("reply", reply_to=50), Error),
        ]
        good += [stage.send(f"more {n}") for n in range(5)]
        assert [(await future).id for future in good] == list(range(1, 11))
        for future, kind in bad:
            with pytest.raises(kind):
                await future
        assert len(await stage.rows()) == 10


async def test_what_cannot_be_stored_fails_alone(dsn: str) -> None:
    """Even where the statement as a whole is refused, because of one of its sends."""
    async with scene(dsn) as stage:
        await stage.connection.execute(
            "ALTER TABLE messages ADD CONSTRAINT poison CHECK (content <> 'poison')"
        )
        try:
            futures = [stage.send("poison" if n == 3 else f"m{n}") for n in range(8)]
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert [isinstance(result, Message) for result in results] == [n != 3 for n in range(8)]
            assert [row["content"] for row in await stage.rows()] == [f"m{n}" for n in range(8) if n != 3]
        finally:
            await stage.connection.execute("ALTER TABLE messages DROP CONSTRAINT poison")


async def test_a_chat_that_is_held_does_not_hold_up_the_others(dsn: str) -> None:
    """Its sends wait, in order, while everybody else's are stored; then they are stored too."""
    async with scene(dsn) as stage:
        holder = stage.connection.transaction()
        await holder.start()
        await stage.connection.execute("SELECT FROM chats WHERE id = 1 FOR UPDATE")
        held = []
        for n in range(3):  # one by one, so that the first are tried again while others come
            held.append(stage.send(f"held {n}"))
            await asyncio.sleep(0)
        for n in range(MAX_SKIPPED_ROUNDS + 3):
            async with asyncio.timeout(5):
                assert (await stage.send(f"other {n}", chat=2)).id == n + 1
        held += [stage.send(f"held {n}") for n in range(3, 6)]
        assert not any(future.done() for future in held)
        await holder.rollback()
        assert [(await future).id for future in held] == [1, 2, 3, 4, 5, 6]
        assert [row["content"] for row in await stage.rows()] == [f"held {n}" for n in range(6)]


async def test_membership_is_judged_as_of_the_commit(dsn: str) -> None:
    """A removal that commits while a send waits for the chat's row is seen by it."""
    async with scene(dsn) as stage:
        removal = stage.connection.transaction()
        await removal.start()
        await stage.connection.execute("SELECT FROM chats WHERE id = 1 FOR UPDATE")
        send = stage.send("too late")
        await asyncio.sleep(0.05)
        await stage.connection.execute("DELETE FROM members WHERE chat_id = 1 AND user_id = 1")
        await stage.connection.execute("UPDATE chats SET version = version + 1 WHERE id = 1")
        await removal.commit()
        with pytest.raises(NotFound):
            await send
        assert await stage.rows() == []


async def test_a_change_between_snapshot_and_lock_is_noticed(new_database: NewDatabase) -> None:
    """A removal that commits after the statement began and before it locks the chat's row."""
    dsn = await new_database()
    async with scene(dsn) as stage:
        # From here on, looking at chat 1 takes a while; the statement's snapshot is older by then.
        await stage.connection.execute(
            """
            CREATE FUNCTION slowly(id int8) RETURNS bool LANGUAGE plpgsql VOLATILE AS
            $$ BEGIN IF id = 1 THEN PERFORM pg_sleep(0.15); END IF; RETURN true; END $$;
            ALTER TABLE chats RENAME TO real_chats;
            CREATE VIEW chats AS SELECT * FROM real_chats WHERE slowly(id);
            """
        )
        send = stage.send("too late")
        await asyncio.sleep(0.07)
        async with stage.connection.transaction():
            await stage.connection.execute("UPDATE real_chats SET version = version + 1 WHERE id = 1")
            await stage.connection.execute("DELETE FROM members WHERE chat_id = 1 AND user_id = 1")
        with pytest.raises(NotFound):
            await send
        assert await stage.rows() == []
        await stage.connection.execute("DROP VIEW chats; ALTER TABLE real_chats RENAME TO chats")


async def test_a_message_that_was_stored_but_not_told_is_told_by_its_retry(dsn: str) -> None:
    """The commit's answer was lost and nobody waited any longer: the next send under its id tells."""
    async with scene(dsn) as stage:
        await stage.send("x", client_id="c")
        stage.published.clear()  # as if it had been stored by a process that died
        await stage.send("x", client_id="c")
        assert [event.message.content for event in stage.published] == ["x"]


async def test_session_is_judged_as_of_the_commit(dsn: str) -> None:
    """An ended session sends nothing, even with a token that is still good."""
    async with scene(dsn) as stage:
        await stage.send("before")
        await stage.connection.execute("UPDATE sessions SET revoked_at = now() WHERE id = 1")
        with pytest.raises(Unauthenticated):
            await stage.send("after")
        await stage.connection.execute("UPDATE sessions SET expires_at = now() WHERE id = 2")
        with pytest.raises(Unauthenticated):
            await stage.send("after", author=2)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_connection_lost_in_a_commit(dsn: str, moment: str) -> None:
    """Cut off before the statement took effect or right after: every send is stored once and told once."""

    class Breaking(Database):
        broken = 0

        async def connect(self, **settings: str) -> Any:
            connection = await super().connect(**settings)
            return _Fragile(connection, self, moment)

    class _Fragile:
        def __init__(self, connection: asyncpg.Connection, owner: Breaking, moment: str) -> None:
            self._connection, self._owner, self._moment = connection, owner, moment

        async def fetch(self, *arguments: Any) -> Any:
            self._owner.broken += 1
            if self._owner.broken > 3:
                return await self._connection.fetch(*arguments)
            if self._moment == "after":
                await self._connection.fetch(*arguments)
            self._connection.terminate()
            raise ConnectionResetError("cut off by the test")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    async with scene(dsn) as stage:
        database = Breaking(dsn)
        ledger = Ledger(database, stage.published.append, max_queued=100, timeout=10)
        ledger.start()
        futures = [ledger.send(Sender(1, 1), MessageDraft(1, f"m{n}")) for n in range(20)]
        ids = [(await future).id for future in futures]
        assert ids == list(range(1, 21))
        assert [row["content"] for row in await stage.rows()] == [f"m{n}" for n in range(20)]
        assert [event.message.id for event in stage.published] == ids
        await ledger.drain()
        await database.close()


async def test_database_away_for_too_long_says_so(dsn: str) -> None:
    """`unavailable`, after the time that is set; what comes when it is back goes through."""
    async with scene(dsn) as stage:
        reachable = False

        class Flaky(Database):
            async def connect(self, **settings: str) -> asyncpg.Connection:
                if not reachable:
                    raise ConnectionRefusedError
                return await super().connect(**settings)

        ledger = Ledger(Flaky(dsn), stage.published.append, max_queued=100, timeout=0.2)
        ledger.start()
        with pytest.raises(Unavailable):
            await ledger.send(Sender(1, 1), MessageDraft(1, "lost"))
        reachable = True
        message = await ledger.send(Sender(1, 1), MessageDraft(1, "back"))
        assert message.id == 1
        await ledger.drain()


async def test_queue_is_bounded_and_drains(dsn: str) -> None:
    """Beyond the bound `busy`; on shutdown what was taken is stored and nothing more is taken."""
    async with scene(dsn, max_queued=10) as stage:
        futures = [stage.send(f"{n}") for n in range(10)]
        with pytest.raises(Busy):
            stage.send("one too many")
        draining = asyncio.create_task(stage.ledger.drain())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            stage.send("too late")
        await draining
        assert all(future.done() for future in futures)
        assert len(await stage.rows()) == 10


async def test_two_nodes_share_a_chat(dsn: str) -> None:
    """Two ledgers, same chats, same retries: one history without holes, each message once."""
    async with scene(dsn) as stage:
        other = Ledger(stage.database, stage.published.append, max_queued=10_000, timeout=10)
        other.start()
        futures = []
        for n in range(200):
            for ledger in (stage.ledger, other):
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
            ids = [row["id"] for row in await stage.rows(chat)]
            assert ids == list(range(1, len(ids) + 1))
        assert sum([len(await stage.rows(chat)) for chat in (1, 2, 3)]) == 200
        await other.drain()


async def test_a_cancelled_caller_changes_nothing_for_others(dsn: str) -> None:
    """Their message may be stored, the batch goes on."""
    async with scene(dsn) as stage:
        futures = [stage.send(f"{n}") for n in range(6)]
        futures[2].cancel()
        rest = [future for n, future in enumerate(futures) if n != 2]
        ids = [(await future).id for future in rest]
        assert ids == sorted(ids)
        await eventually(lambda: not stage.ledger._unanswered)


async def test_whoever_sends_much_does_not_hold_up_the_others(dsn: str) -> None:
    """A thousand of one author's sends are waiting; another's one send is in the next batch but one."""
    async with scene(dsn) as stage:
        many = [stage.send(f"{n}") for n in range(1500)]
        one = stage.send("one", author=2)
        message = await one
        assert sum(send.done() for send in many) <= 1000
        assert message.id <= 1000
        assert [(await send).content for send in many] == [f"{n}" for n in range(1500)]
        of_the_first = [row["content"] for row in await stage.rows() if row["author_id"] == 1]
        assert of_the_first == [f"{n}" for n in range(1500)]
