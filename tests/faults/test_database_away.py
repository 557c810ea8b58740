"""The database goes away and comes back: 503 meanwhile, and recovery by itself."""

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
    """Reads, sends, log-ins and readiness say so; sockets stay, and hear what comes afterwards."""
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
            ):
                assert answer.status_code == 503, answer.text
                assert answer.json()["code"] == "unavailable"
                assert int(answer.headers["retry-after"]) > 0
            assert (await live.client().get("/healthz")).status_code == 200
            await asyncio.to_thread(server.start)

            async def back() -> bool:
                return (await live.client().get("/readyz")).status_code == 200

            await eventually(back)
            await alice.say(chat_id, "after")
            await socket.next(content="after")
            assert (await alice.get("/api/chats")).status_code == 200
    await asyncio.to_thread(server.stop)


async def test_silent_database_keeps_nobody_waiting_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and says nothing: all are told so together, not each in its turn."""
    monkeypatch.setattr(engine, "CONNECT_TIMEOUT_SECONDS", 1.0)
    async with _silence() as dsn:
        database = Database(dsn)

        async def ask() -> None:
            async with database.transaction() as session:
                await session.connection()

        async with asyncio.timeout(4):
            told = await asyncio.gather(*(ask() for _ in range(8)), return_exceptions=True)
        assert [type(each) for each in told] == [Unavailable] * 8
        await database.close()


async def test_those_who_give_way_are_told_that_it_takes_too_long(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their places are theirs again once they are free."""
    monkeypatch.setattr(engine, "POOL_TIMEOUT_SECONDS", 0.05)
    database = Database(await new_database())
    behind = LimitedDatabase(database, 1)
    async with behind.transaction():
        with pytest.raises(Busy):
            async with behind.transaction():
                raise AssertionError("there is one place")
    async with behind.transaction() as session:
        await session.connection()
    await database.close()


@asynccontextmanager
async def _silence() -> AsyncIterator[str]:
    lines: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: lines.append(writer), "127.0.0.1", 0)
    try:
        yield f"postgresql://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/nothing"
    finally:
        server.close()
        for writer in lines:
            writer.transport.abort()
