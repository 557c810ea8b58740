"""Backups, their schedules and the restore drill, as docs/operations.md prints them."""

import asyncio
import configparser
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from blazechat.backup import manifest as manifests
from blazechat.data_folder import running_server
from blazechat.database.source import database_dsn
from tests.files.pictures import photo
from tests.files.test_attachments import shared
from tests.files.upload_calls import begin_upload, offset_of, patch
from tests.harness import Live, Person, running, settings_for
from tests.project.code_blocks import ROOT, blocks_of

EMBEDDED = {"database_url": None, "secret_key": None, "postgres_options": "fsync=off"}
ENVIRONMENT = {"BLAZECHAT_POSTGRES_OPTIONS": "fsync=off", "BLAZECHAT_BCRYPT_ROUNDS": "4"}


def printed(heading: str) -> list[str]:
    return [block.code for block in blocks_of("docs/operations.md") if block.heading == heading]


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["/bin/sh", "-c", script],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def run(script: str, folder: Path) -> str:
    """Run a script to its end; return its output."""
    with start(script, folder) as process:
        output, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, output
    return output


@asynccontextmanager
async def serving(script: str, folder: Path) -> AsyncIterator[str]:
    """Run the drill's server until the end of the block; yield its URL."""
    with start(f"exec {script}", folder) as process:
        try:
            assert process.stdout is not None
            output = ""
            while "Ctrl-C stops it" not in output:
                line = await asyncio.to_thread(process.stdout.readline)
                assert line, output
                output += line
            server = running_server(folder / "drill")
            assert server is not None
            yield server.url
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.communicate)


def exec_start(service: str) -> str:
    """Return the command of a unit, without the escapes of systemd."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(service)
    return shlex.join(shlex.split(parser["Service"]["ExecStart"].replace("$$", "$").replace("%%", "%")))


async def every_row(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return the content of all tables, and the last values of all sequences."""
    connection = await asyncpg.connect(dsn)
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        queries = {name: f"SELECT t.* FROM {name} t ORDER BY t" for (name,) in names}
        queries["sequences"] = "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        return {
            name: [tuple(row) for row in await connection.fetch(query)] for name, query in queries.items()
        }
    finally:
        await connection.close()


def elsewhere(person: Person, live: Live) -> Person:
    """Return the same person, with the same tokens, on another server."""
    return Person(live, person.id, person.username, person.tokens, live.client(person.token))


@pytest.fixture
def installation(open_folder: Path) -> Path:
    """A folder with an environment, in which a server can run."""
    (open_folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    return open_folder


async def test_a_server_from_the_printed_backup_equals_the_first(installation: Path) -> None:
    """Backed up by hand, by cron and by systemd while it runs: all rows, and what users see and may do."""
    (by_hand, crontab, timer, service), (drill,) = printed("Backups"), printed("Restoring a backup")
    backups = installation / "backups"
    today = backups / datetime.now().astimezone().date().isoformat()
    async with running(settings_for("", **EMBEDDED, data_dir=installation / "blazechat-data")) as live:
        alice, bob = await live.people("alice", "bob")
        look, use = await fill(live, alice, bob)
        rows = await every_row(live.app.state.services.database.dsn)
        output = await run(by_hand, installation)
        cron = crontab.split(maxsplit=5)[5].replace("\\%", "%").replace("/srv/chat", str(installation))
        await run(cron, installation)
        today.rename(backups / "by-cron")
        await run(exec_start(service), installation)
        seen = await look(alice, bob)
    assert "complete and verified" in output
    assert "Dumping the database" in output
    configparser.ConfigParser().read_string(timer)
    tables = [manifests.read(backups / name).tables for name in ("monday", "by-cron", today.name)]
    assert tables[0] == tables[1] == tables[2]
    restore, serve = drill.splitlines()
    assert "is restored and checked" in await run(restore, installation)
    with database_dsn(settings_for("", **EMBEDDED, data_dir=installation / "drill")) as dsn:
        assert await every_row(dsn) == rows
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(serve.replace("8002", "0"), installation))
        restored = Live(url, live.app, live.server)
        stack.push_async_callback(close_clients, restored)
        alice, bob = elsewhere(alice, restored), elsewhere(bob, restored)
        assert await look(alice, bob) == seen
        await use(restored, alice, bob)


async def close_clients(live: Live) -> None:
    for client in live.clients:
        await client.aclose()


async def fill(
    live: Live, alice: Person, bob: Person
) -> tuple[Callable[[Person, Person], Awaitable[Any]], Callable[[Live, Person, Person], Awaitable[None]]]:
    """Create some of everything.

    Returns a function that reads it, and one that uses it, with the log-ins and tokens of now.
    """
    chat, message = await shared(alice, bob, content=photo())
    await bob.say(chat, "seen", reply_to=message["id"])
    await alice.say(chat, "last")
    await bob.put(f"/api/chats/{chat}/messages/read", {"up_to": 1})
    hook = (await alice.post(f"/api/chats/{chat}/incoming-webhooks", {"name": "CI"})).json()["url"]
    await alice.post(f"/api/chats/{chat}/webhooks", {"url": "https://example.com/hook"})
    await alice.post("/api/bots", {"username": "robot"})
    token = (await alice.post("/api/tokens", {"name": "cron", "scope": "write"})).json()["token"]
    upload = await begin_upload(alice, 20)
    await patch(alice, upload, 0, b"ten bytes.")

    async def look(alice: Person, bob: Person) -> Any:
        file = (await bob.get(message["attachments"][0]["url"])).content
        chats = (await bob.get("/api/chats")).json()
        bots = (await alice.get("/api/bots")).json()
        webhooks = (await alice.get(f"/api/chats/{chat}/webhooks")).json()
        return await bob.history(chat), file, chats, bots, webhooks, await offset_of(alice, upload)

    async def use(live: Live, alice: Person, bob: Person) -> None:
        path = "/hooks/" + hook.rpartition("/hooks/")[2]
        assert (await live.client().post(path, json={"text": "built"})).status_code == 200
        assert (await live.client(token).get("/api/chats")).status_code == 200
        refresh = {"refresh_token": bob.tokens["refresh_token"]}
        assert (await live.client().post("/api/auth/refresh", json=refresh)).status_code == 200
        assert (await bob.say(chat, "here"))["id"] == 5

    return look, use
