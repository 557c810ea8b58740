"""The database becomes unreachable and returns: 503 meanwhile, then the server recovers by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from blazechat.database import engine
from blazechat.database.embedded import EmbeddedPostgres
from blazechat.database.engine import Database, LimitedDatabase
from blazechat.database.migrate import migrate
from blazechat.errors import Busy, Unavailable
from tests.conftest import NewDatabase
from tests.harness import eventually, running, settings_for


async def test_database_away_is_503_and_recovers(open_folder: Path) -> None:
    """Reads, sends, log-ins and readiness fail with 503. Sockets stay open and receive later messages."""
    server = EmbeddedPostgres(open_folder, "fsync=off")
    server.start()
    await migrate(Database(server.dsn))
    async with running(settings_for(server.dsn, send_timeout=0.5)) as live:
        alice, bob = await live.people("alice", "bob")
        chat_id = await alice.direct(bob)
        async with bob.listening(chat_id) as socket:
            await alice.say(chat_id, "before")
            await socket.next(content="before")
            await asyncio.to_thread(server.stop)
            for answer in (
                await alice.get("/api/chats"),
                await alice.post(f"/api/chats/{chat_id}/messages", {"content": "x"}),
                await live.client().post("/token", data={"username": "a", "password": "b"}),
                await live.client().get("/readyz"),
                await live.client().get("/api/test"),
                await live.client().get("/api/dbtest"),
            ):
                assert answer.status_code == 503, answer.text
                assert answer.json()["code"] == "unavailable"
                assert int(answer.headers["retry-after"]) > 0
            assert (await live.client().get("/healthz")).status_code == 200
            assert (await live.client().get("/api")).status_code == 200
            await asyncio.to_thread(server.start)

            async def back() -> bool:
                return (await live.client().get("/readyz")).status_code == 200

            await eventually(back)
            await alice.say(chat_id, "after")
            await socket.next(content="after")
            assert (await alice.get("/api/chats")).status_code == 200
    await asyncio.to_thread(server.stop)


async def test_requests_to_a_silent_database_time_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections and never answers: all requests fail at the same time, not one after
    another."""
    monkeypatch.setattr(engine, "CONNECT_TIMEOUT_SECONDS", 1.0)
    async with _silent_database() as dsn:
        database = Database(dsn)

        async def ask() -> None:
            async with database.transaction() as session:
                await session.connection()

        async with asyncio.timeout(4):
            results = await asyncio.gather(*(ask() for _ in range(8)), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 8
        await database.close()


async def test_limited_database_is_busy_while_its_slots_are_taken(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot can be used again once its transaction has ended."""
    monkeypatch.setattr(engine, "POOL_TIMEOUT_SECONDS", 0.05)
    database = Database(await new_database())
    limited = LimitedDatabase(database, 1)
    async with limited.transaction():
        with pytest.raises(Busy):
            async with limited.transaction():
                raise AssertionError("there is one slot only")
    async with limited.transaction() as session:
        await session.connection()
    await database.close()


@asynccontextmanager
async def _silent_database() -> AsyncIterator[str]:
    """A server that accepts connections and never answers; yields its URL."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        yield f"postgresql://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/nothing"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
