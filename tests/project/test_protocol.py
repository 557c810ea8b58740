"""docs/protocol.md lists every command, event and close code, and its example client works unchanged."""

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
MAX_CLIENT_LINES = 46
UNVERSIONED_FIELDS = {"is_read", "user"}
"""Fields of a message that change without a new version."""


def _rows(title: str) -> list[list[str]]:
    """Return the rows of a section's table, without its header."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def _fields(title: str) -> dict[str, set[str]]:
    """Return the names in the second column of a section's table, by the name in the first."""
    return {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in _rows(title)}


def _types(kinds: Iterable[type[Any]]) -> dict[str, set[str]]:
    return {
        str(kind.__struct_config__.tag): {field.name for field in msgspec.structs.fields(kind)} - {"ref"}
        for kind in kinds
    }


def test_every_command_is_documented() -> None:
    """The page lists exactly the commands of the code, with their fields."""
    assert _fields("Commands") == _types(wire.COMMANDS)


def test_every_event_is_documented() -> None:
    """The page lists exactly the events of the code, with their fields."""
    assert _fields("Events") == _types(wire.EVENTS)


def test_every_close_code_says_whether_to_reconnect() -> None:
    """Each code is listed once: reconnect at once, later or not."""
    rows = {row[0]: row[2] for row in _rows("Close codes")}
    assert len(rows) == len(_rows("Close codes"))
    sent = [*Close, frames.PROTOCOL_ERROR, frames.INVALID_PAYLOAD, frames.TOO_BIG]
    assert {str(int(code)) for code in sent} | {"1000", "1001", "1006"} == set(rows)
    for code, verdict in rows.items():
        assert re.match(r"(at once|later|no|as you like)\b", verdict), code


def test_the_client_is_short() -> None:
    """It has no more lines than its title says."""
    assert len([line for line in _client_code().splitlines() if line.strip()]) <= MAX_CLIENT_LINES
    assert f"## A client in {MAX_CLIENT_LINES} lines" in PAGE


def _client_code() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


@asynccontextmanager
async def _example_client(live: Live, person: Person) -> AsyncIterator[Any]:
    """Yield the page's client for a user. It reconnects faster, to shorten the tests."""
    names: dict[str, Any] = {}
    exec(_client_code().replace("sleep(1)", "sleep(0.05)"), names)  # noqa: S102 (the code is in our own documentation)
    client = names["Client"](live.url, person.token)
    try:
        yield client
    finally:
        await client.http.aclose()


@asynccontextmanager
async def _running(client: Any) -> AsyncIterator[None]:
    """Run the client until the end of the block; enter it once the client has caught up."""
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


async def test_the_client_follows_the_rules_of_versions(live: Live) -> None:
    """A message's greatest version wins. A chat's version waits for `synced`, and no `ack` advances it."""

    def message_event(version: int) -> dict[str, Any]:
        message = {"id": 3, "user": {"id": 7, "username": "bob"}, "created_at": "2026-11-22T12:00:00Z"}
        return {"chat_id": 1, "version": version, "message": message}

    async with _example_client(live, await live.person()) as client:
        client.live, client.versions = False, {1: 5}
        await client.hear(type="message.updated", **message_event(11))
        await client.hear(type="message.created", **message_event(8))
        assert client.chats[1][3]["version"] == 11
        assert client.versions == {1: 5}
        await client.hear(type="synced", chats={"1": 11})
        assert client.versions == {1: 11}
        await client.hear(type="ack", ref="resume")
        await client.hear(type="message.updated", **message_event(12))
        await client.hear(type="ack", ref="c1", chat_id=1, message_id=4, version=14)
        assert client.versions == {1: 12}


async def _history(person: Person, chat_id: int) -> dict[int, dict[str, Any]]:
    """Return all messages of a chat that the user can see, by id, over HTTP."""
    found: dict[int, dict[str, Any]] = {}
    before: dict[str, int] = {}
    while page := await person.history(chat_id, limit=100, **before):
        found |= {message["id"]: message for message in page}
        before = {"before": page[-1]["id"]}
    return found


async def _expected(person: Person) -> tuple[dict[int, Any], dict[int, int]]:
    """Return the messages of the user's chats, and the chats' versions, over HTTP."""
    listed = (await person.get("/api/chats", params={"limit": 100})).json()
    chats = {chat["id"]: _versioned(await _history(person, chat["id"])) for chat in listed}
    return chats, {chat["id"]: chat["version"] for chat in listed}


def _versioned(messages: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {
        id_: {name: value for name, value in message.items() if name not in UNVERSIONED_FIELDS}
        for id_, message in messages.items()
    }


async def _wait_until_equal(client: Any, person: Person) -> dict[int, Any]:
    """Wait until the client's copy equals the messages over HTTP, and return these."""
    chats, versions = await _expected(person)
    with contextlib.suppress(TimeoutError):
        await eventually(lambda: _copy(client) == chats)
    for chat_id, messages in chats.items():
        assert _copy(client).get(chat_id) == messages
    assert set(client.chats) == set(client.versions) == set(chats)
    for chat_id, version in client.versions.items():  # too low costs a repetition, too high a loss
        assert version <= versions[chat_id]
    return chats


def _copy(client: Any) -> dict[int, Any]:
    return {chat_id: _versioned(messages) for chat_id, messages in client.chats.items()}


async def _change_chats(
    people: list[Person], chat_ids: list[int], rng: random.Random, is_done: asyncio.Event
) -> None:
    """Send, edit, delete, react and pin at random, until `is_done` is set."""
    for number in itertools.count():
        if is_done.is_set():
            return
        person, chat_id = rng.choice(people), rng.choice(chat_ids)
        sent = await person.say(chat_id, f"number {number}")
        message = f"/api/chats/{chat_id}/messages/{rng.randint(1, sent['id'])}"
        match rng.randrange(6):
            case 0 | 1:
                await person.put(message, {"content": f"edit {number}"})
            case 2:
                await person.delete(message)
            case 3:
                await person.put(f"{message}/reactions/👍")
            case 4:
                await person.put(f"{message}/pin")


async def _cut(live: Live, person: Person, rng: random.Random) -> None:
    """Abort the user's socket as soon as it is open again, or a little later."""
    hub = live.app.state.gateway.hub
    (connection,) = await eventually(lambda: set(hub.connections_of(person.id)))
    await asyncio.sleep(rng.choice((0.0, 0.005, 0.02, 0.1)))

    def is_lost() -> bool:
        connection.abort()  # has no effect before the socket is accepted
        return connection not in hub.connections_of(person.id)

    await eventually(is_lost)


async def test_the_client_misses_and_doubles_no_message(new_server: NewServer) -> None:
    """Others write, edit and delete, and the client's connection is cut again and again.

    Afterwards its copy equals the messages over HTTP, and each of its own messages is stored once.
    """
    live = await new_server(resume_limit=60)
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_ids = [await bob.group(alice, carol), await carol.group(alice, bob), await bob.direct(alice)]
    rng, is_done = random.Random(7), asyncio.Event()
    async with _example_client(live, alice) as client, _running(client):
        sent = {f"c{number}": rng.choice(chat_ids) for number in range(20)}
        async with asyncio.TaskGroup() as others:
            others.create_task(_change_chats([bob, carol], chat_ids[:2], rng, is_done))
            others.create_task(_change_chats([bob], chat_ids[2:], rng, is_done))
            for client_id, chat_id in sent.items():
                await client.send(client_id, chat_id, f"{client_id} from alice")
                await _cut(live, alice, rng)
            is_done.set()
        await eventually(lambda: not client.unsent)
        chats = await _wait_until_equal(client, alice)
    for client_id, chat_id in sent.items():
        content = f"{client_id} from alice"
        stored = [each for each in chats[chat_id].values() if each["client_id"] == client_id]
        assert len(stored) == 1, content


@pytest.mark.parametrize("is_away", [False, True])
async def test_the_client_follows_its_chats(new_server: NewServer, is_away: bool) -> None:
    """New chats, chats that it lost, and chats of which it missed too many changes; connected or not."""
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

    async with _example_client(live, alice) as client:
        async with _running(client):
            assert set(client.chats) == {long, left, deleted, hidden}
            if not is_away:
                await change()
                await _wait_until_equal(client, alice)
        if is_away:
            await change()
        async with _running(client):
            await _wait_until_equal(client, alice)
            _, versions = await _expected(alice)
            await eventually(lambda: client.versions == versions)
            assert set(versions) == {long, hidden, hidden + 1}


async def test_the_client_ends_with_its_session(live: Live) -> None:
    """It raises an exception, and does not reconnect forever."""
    alice = await live.person()
    async with _example_client(live, alice) as client:
        async with _running(client):
            pass
        await alice.post("/api/auth/logout")
        with pytest.raises(InvalidStatus, match="401"):
            await client.run()
