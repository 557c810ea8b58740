"""docs/protocol.md: all that is said is in it, and its client works as it stands there."""

import asyncio
import contextlib
import itertools
import random
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from blazechat.realtime import frames, wire
from blazechat.realtime.connection import Close
from tests.conftest import NewServer
from tests.harness import Live, Person, eventually

PAGE = (Path(__file__).parent.parent.parent / "docs" / "protocol.md").read_text()
LINES = 40
TOLD_LATER = {"is_read", "user"}
"""Fields of a message that are as of when it was told: they change without a version."""


def _rows(title: str) -> list[list[str]]:
    """The table of a section, without its head."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def _fields(title: str) -> dict[str, set[str]]:
    """By the name in the first column of a section's table, the names in its second."""
    return {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in _rows(title)}


def _types(kinds: Iterable[type[Any]]) -> dict[str, set[str]]:
    return {
        str(kind.__struct_config__.tag): {field.name for field in msgspec.structs.fields(kind)} - {"ref"}
        for kind in kinds
    }


def test_every_command_is_documented() -> None:
    """With its fields, and none that is not there."""
    assert _fields("Commands") == _types(wire.COMMANDS)


def test_every_event_is_documented() -> None:
    """With its fields, and none that is not there."""
    assert _fields("Events") == _types(wire.TOLD)


def test_every_close_code_says_whether_to_come_back() -> None:
    """At once, later or not; each code once."""
    rows = {row[0]: row[2] for row in _rows("Close codes")}
    assert len(rows) == len(_rows("Close codes"))
    sent = [*Close, frames.PROTOCOL_ERROR, frames.INVALID_PAYLOAD, frames.TOO_BIG]
    assert {str(int(code)) for code in sent} | {"1000", "1001", "1006"} == set(rows)
    for code, verdict in rows.items():
        assert re.match(r"(at once|later|no|as you like)\b", verdict), code


def test_the_client_is_short() -> None:
    """As short as its title says."""
    assert len([line for line in _client().splitlines() if line.strip()]) <= LINES
    assert f"## A client in {LINES} lines" in PAGE


def _client() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


@asynccontextmanager
async def _client_of(live: Live, person: Person) -> AsyncIterator[Any]:
    """The page's client, in a hurry to come back."""
    names: dict[str, Any] = {}
    exec(_client().replace("sleep(1)", "sleep(0.05)"), names)  # noqa: S102 (it is our own page)
    client = names["Client"](live.url, person.token)
    try:
        yield client
    finally:
        await client.http.aclose()


@asynccontextmanager
async def _running(client: Any) -> AsyncIterator[None]:
    """Run the client until the end of the block."""
    client.live = False
    task = asyncio.create_task(client.run())
    try:
        await eventually(lambda: client.live or task.done())
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.socket.close()


async def test_the_client_keeps_to_the_rules(live: Live) -> None:
    """Of a message the greater version stands. A chat's waits for `synced`, and no `ack` moves it."""

    def said(version: int) -> dict[str, Any]:
        return {"chat_id": 1, "version": version, "message": {"id": 3, "chat_id": 1, "version": version}}

    async with _client_of(live, await live.person()) as client:
        client.live, client.versions = False, {1: 5}
        await client.hear(type="message.updated", **said(11))
        await client.hear(type="message.created", **said(8))
        assert client.chats[1][3]["version"] == 11
        assert client.versions == {1: 5}
        await client.hear(type="synced", chats={"1": 11})
        assert client.versions == {1: 11}
        await client.hear(type="ack", ref="resume")
        await client.hear(type="message.updated", **said(12))
        await client.hear(type="ack", ref="c1", chat_id=1, message_id=4, version=14)
        assert client.versions == {1: 12}


async def _history(person: Person, chat_id: int) -> dict[int, dict[str, Any]]:
    """All messages of a chat that somebody may see, over HTTP."""
    found: dict[int, dict[str, Any]] = {}
    before: dict[str, int] = {}
    while page := await person.history(chat_id, limit=100, **before):
        found |= {message["id"]: message for message in page}
        before = {"before": page[-1]["id"]}
    return found


async def _truth(person: Person) -> tuple[dict[int, Any], dict[int, int]]:
    """What a client of this person should have: its chats, and their versions."""
    listed = (await person.get("/api/chats", params={"limit": 100})).json()
    chats = {chat["id"]: _bare(await _history(person, chat["id"])) for chat in listed}
    return chats, {chat["id"]: chat["version"] for chat in listed}


def _bare(messages: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {
        id_: {name: value for name, value in message.items() if name not in TOLD_LATER}
        for id_, message in messages.items()
    }


async def _agrees(client: Any, person: Person) -> dict[int, Any]:
    """Wait until the client has what it should have, and return that."""
    chats, versions = await _truth(person)
    with contextlib.suppress(TimeoutError):
        await eventually(lambda: _copy(client) == chats)
    for chat_id, messages in chats.items():
        assert _copy(client).get(chat_id) == messages
    assert set(client.chats) == set(client.versions) == set(chats)
    for chat_id, version in client.versions.items():  # lower costs a repetition, greater a loss
        assert version <= versions[chat_id]
    return chats


def _copy(client: Any) -> dict[int, Any]:
    return {chat_id: _bare(messages) for chat_id, messages in client.chats.items()}


async def _write(
    people: list[Person], chat_ids: list[int], dice: random.Random, enough: asyncio.Event
) -> None:
    """Say, edit, delete, react and pin, at random, until it is enough."""
    for number in itertools.count():
        if enough.is_set():
            return
        person, chat_id = dice.choice(people), dice.choice(chat_ids)
        said = await person.say(chat_id, f"number {number}")
        message = f"/api/chats/{chat_id}/messages/{dice.randint(1, said['id'])}"
        match dice.randrange(6):
            case 0 | 1:
                await person.put(message, {"content": f"edit {number}"})
            case 2:
                await person.delete(message)
            case 3:
                await person.put(f"{message}/reactions/👍")
            case 4:
                await person.put(f"{message}/pin")


async def _cut(live: Live, person: Person, dice: random.Random) -> None:
    """End this person's socket without a word, as soon as it is there again, or a little later."""
    hub = live.app.state.gateway.hub
    (connection,) = await eventually(lambda: set(hub.connections_of(person.id)))
    await asyncio.sleep(dice.choice((0.0, 0.005, 0.02, 0.1)))

    def gone() -> bool:
        connection.abort()  # once it is accepted
        return connection not in hub.connections_of(person.id)

    await eventually(gone)


async def test_the_client_misses_nothing_and_doubles_nothing(new_server: NewServer) -> None:
    """While others write, edit and delete, and its connection is cut again and again.

    Afterwards it has what HTTP shows, and each of its messages is there once.
    """
    live = await new_server(resume_limit=60)
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_ids = [await bob.group(alice, carol), await carol.group(alice, bob), await bob.direct(alice)]
    dice, enough = random.Random(7), asyncio.Event()
    async with _client_of(live, alice) as client, _running(client):
        sent = {f"c{number}": dice.choice(chat_ids) for number in range(20)}
        async with asyncio.TaskGroup() as others:
            others.create_task(_write([bob, carol], chat_ids[:2], dice, enough))
            others.create_task(_write([bob], chat_ids[2:], dice, enough))
            for client_id, chat_id in sent.items():
                await client.send(client_id, chat_id, f"{client_id} from alice")
                await _cut(live, alice, dice)
            enough.set()
        await eventually(lambda: not client.unsent)
        chats = await _agrees(client, alice)
    for client_id, chat_id in sent.items():
        content = f"{client_id} from alice"
        stored = [each for each in chats[chat_id].values() if each["client_id"] == client_id]
        assert len(stored) == 1, content


@pytest.mark.parametrize("away", [False, True])
async def test_the_client_follows_its_chats(new_server: NewServer, away: bool) -> None:
    """New ones, those that it is removed from, and those of which it missed too much; away or not."""
    live = await new_server(resume_limit=20)
    alice, bob = await live.people("alice", "bob")
    long, left, deleted, hidden = [await bob.group(alice) for _ in range(4)]
    for chat_id in (long, left, deleted, hidden):
        await bob.say(chat_id, "hello")

    async def change() -> None:
        for number in range(30):
            await bob.say(long, f"number {number}")
        await bob.put(f"/api/chats/{long}/messages/1", {"content": "edited"})
        await bob.delete(f"/api/chats/{left}/members/{alice.id}")
        await bob.delete(f"/api/chats/{deleted}")
        await bob.put(f"/api/chats/{hidden}", {"history": "joined"})
        await bob.say(await bob.group(alice), "welcome")

    async with _client_of(live, alice) as client:
        async with _running(client):
            assert set(client.chats) == {long, left, deleted, hidden}
            if not away:
                await change()
                await _agrees(client, alice)
        if away:
            await change()
        async with _running(client):
            await _agrees(client, alice)
            _, versions = await _truth(alice)
            await eventually(lambda: client.versions == versions)
            assert set(versions) == {long, hidden, hidden + 1}


async def test_the_client_ends_with_its_session(live: Live) -> None:
    """By an exception that says so, instead of coming back for ever."""
    alice = await live.person()
    async with _client_of(live, alice) as client:
        async with _running(client):
            pass
        await alice.post("/api/auth/logout")
        with pytest.raises(InvalidStatus, match="401"):
            await client.run()
