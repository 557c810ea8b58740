"""The database goes away and comes back: 503 meanwhile, and recovery by itself."""

import asyncio
from pathlib import Path

from blazechat.database.embedded import EmbeddedPostgres
from tests.harness import eventually, running, settings_for


async def test_database_away_is_503_and_recovers(open_folder: Path) -> None:
    """Reads, sends, log-ins and readiness say so; sockets stay, and hear what comes afterwards."""
    server = EmbeddedPostgres(open_folder, "fsync=off")
    server.start()
    from blazechat.database.engine import Database
    from blazechat.database.migrate import migrate

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
