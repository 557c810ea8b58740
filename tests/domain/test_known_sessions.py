"""Sessions that are known at a version: their end holds at once, on every node, also without its event."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from blazechat.database.engine import Database
from blazechat.domain.messaging.fast_append import FAST_APPEND, NO_SESSIONS
from blazechat.domain.messaging.known_sessions import KnownSession, KnownSessions
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.users import Author
from blazechat.errors import Unauthenticated
from tests.domain.ledger_harness import LedgerHarness, started_ledger
from tests.harness import PASSWORD, Live, Person

LATER = datetime(2100, 1, 1, tzinfo=UTC)


async def _warm_up(harness: LedgerHarness) -> None:
    """Have the ledger cache chat 1 with the users 1 and 2."""
    for author in (1, 2, 1, 2):
        await harness.send("hello", author=author)
    harness.queries.clear()


async def test_known_sessions_are_not_compared_with_the_tables(dsn: str) -> None:
    """And no cursor is moved. The end of any session has the next batch compare its own sessions once."""
    async with started_ledger(dsn) as harness:
        await _warm_up(harness)
        await asyncio.gather(harness.send("x"), harness.send("y", author=2))
        compared = [query.args[16:21] for query in harness.queries]
        assert compared == [NO_SESSIONS]
        assert harness.queries[0].query == FAST_APPEND
        await harness.connection.execute("UPDATE sessions SET revoked_at = now() WHERE id = 3")
        harness.queries.clear()
        for author in (1, 1, 2, 2):
            await harness.send("x", author=author)
        of_user = {n: (f"{{{n}}}", f"{{{n}}}", f'{{"u{n}"}}', f'{{"u{n}"}}', 1) for n in (1, 2)}
        compared = [query.args[16:21] for query in harness.queries]
        assert compared == [NO_SESSIONS, of_user[1], NO_SESSIONS, of_user[2], NO_SESSIONS]


async def test_known_session_that_expires_cannot_send(dsn: str) -> None:
    """Time passes without a change of any row."""
    async with started_ledger(dsn) as harness:
        await harness.connection.execute(
            "UPDATE sessions SET expires_at = now() + interval '700 milliseconds' WHERE id = 1"
        )
        await _warm_up(harness)
        await harness.wait_for("SELECT FROM sessions WHERE id = 1 AND expires_at < now()")
        rejected, others = harness.send("x"), harness.send("y", author=2)
        with pytest.raises(Unauthenticated):
            await rejected
        assert (await others).content == "y"


@pytest.mark.parametrize(
    ("change", "raised"),
    [
        ("UPDATE sessions SET revoked_at = now() WHERE id IN (1, 2)", 1),
        ("UPDATE sessions SET expires_at = now() WHERE id = 1", 1),
        ("UPDATE sessions SET user_id = 2 WHERE id = 1", 1),
        ("DELETE FROM sessions WHERE id = 1", 1),
        ("UPDATE users SET display_name = 'new' WHERE id = 1", 1),
        ("UPDATE users SET username = 'new' WHERE id = 1", 1),
        ("UPDATE sessions SET expires_at = expires_at + interval '1 day', last_used_at = now()", 0),
        ("UPDATE users SET display_name = display_name, last_seen = now()", 0),
        ("DELETE FROM sessions WHERE id = 4", 0),
    ],
)
async def test_version_is_raised_once_by_a_transaction_that_ends_sessions_or_renames(
    dsn: str, change: str, raised: int
) -> None:
    """By nothing else, and not by a transaction that is rolled back."""
    version = "SELECT version FROM auth_version"
    async with started_ledger(dsn) as harness:
        connection = harness.connection
        await connection.execute("UPDATE sessions SET revoked_at = now() WHERE id = 4")
        before = await connection.fetchval(version)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(change)
        await transaction.rollback()
        assert await connection.fetchval(version) == before
        async with connection.transaction():
            await connection.execute(change)
            await connection.execute(change)
        assert await connection.fetchval(version) == before + raised


async def _log_out(person: Person) -> None:
    await person.post("/api/auth/logout")


async def _end_session(person: Person) -> None:
    other = await person.live.log_in(person.username)
    (session_id,) = [
        row["id"] for row in (await other.get("/api/auth/sessions")).json() if not row["current"]
    ]
    assert (await other.delete(f"/api/auth/sessions/{session_id}")).is_success


async def _change_password(person: Person) -> None:
    other = await person.live.log_in(person.username)
    body = {"password": "another long password", "current_password": PASSWORD}
    assert (await other.put(f"/api/users/{person.id}", body)).is_success


async def _delete_account(person: Person) -> None:
    assert (await person.delete(f"/api/users/{person.id}")).is_success


@asynccontextmanager
async def _other_node(live: Live) -> AsyncIterator[Ledger]:
    """Run a ledger on the database of a server, without the events of the server's bus."""
    database = Database(live.app.state.services.database.dsn)
    ledger = Ledger(database, lambda event: None, max_queued=100, timeout=5)
    ledger.start()
    try:
        yield ledger
    finally:
        await ledger.drain()
        await database.close()


@pytest.mark.parametrize(
    "end", [_log_out, _end_session, _change_password, _delete_account], ids=lambda end: end.__name__
)
async def test_revocation_holds_at_once_on_a_node_that_gets_no_event(
    live: Live, end: Callable[[Person], Awaitable[None]]
) -> None:
    """The node has sent for the session before, and learns of the end from the database."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    (session_id,) = [row["id"] for row in (await alice.get("/api/auth/sessions")).json()]
    async with _other_node(live) as ledger:
        for number in range(3):
            await ledger.send(Sender(alice.id, session_id), MessageDraft(chat_id, f"{number}"))
        await end(alice)
        with pytest.raises(Unauthenticated):
            await ledger.send(Sender(alice.id, session_id), MessageDraft(chat_id, "after the end"))
    contents = [message["content"] for message in await bob.history(chat_id)]
    assert contents == ["2", "1", "0"]


def test_a_session_is_known_at_the_newest_version_only() -> None:
    """A newer version from any statement has every other session compared again."""
    sessions = KnownSessions(max_sessions=2)
    first, second = (KnownSession(Author(n, f"u{n}", f"u{n}"), LATER, auth_version=1) for n in (1, 2))
    sessions.learn(1, first)
    sessions.learn(2, second)
    assert sessions.known_at([first, second]) == 1
    sessions.confirm([first], 2, LATER)
    assert sessions.known_at([first]) == 2
    assert sessions.known_at([first, second]) == -1
    assert sessions.of(1, user_id=1) is first
    assert sessions.of(1, user_id=2) is None
    sessions.learn(3, KnownSession(Author(3, "u3", "u3"), LATER, auth_version=2))
    assert sessions.of(1, user_id=1) is None, "the first one is evicted"
