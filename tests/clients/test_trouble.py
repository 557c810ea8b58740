"""What the SDK does when things go wrong on the way, one at a time."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
import websockets

from blazechat.client import (
    Client,
    ConnectionState,
    EventStream,
    History,
    ConnectionChanged,
    LoggedOut,
    MemoryVault,
    MessageCreated,
    NotBlazeChat,
    NotConnected,
    SendState,
    SessionEnded,
    Unreachable,
    errors,
)
from blazechat.client.journal import Journal, JournalEntry
from tests.clients.test_sdk import logged_in
from tests.clients.wire import Wire, wire
from tests.conftest import NewServer
from tests.harness import NO_TLS, PASSWORD, Live, Person, eventually


class Slow(httpx2.AsyncHTTPTransport):
    """Answers come late, from paths that begin like this."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(verify=NO_TLS)
        self.path, self.seconds = path, seconds

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await super().handle_async_request(request)
        if request.url.path.startswith(self.path):
            await answer.aread()
            await asyncio.sleep(self.seconds)
        return answer


@contextlib.asynccontextmanager
async def through_wire(live: Live, **options: Any) -> AsyncIterator[tuple[Wire, Client]]:
    async with wire(Random(1)) as network, Client(network.url, **options) as client:
        network.leads_to(live.url)
        yield network, client


async def test_outage_longer_than_a_token(new_server: NewServer) -> None:
    """Ends no session, however often it was tried to come back meanwhile."""
    live = await new_server()
    tokens = live.app.state.services.credentials.tokens
    async with through_wire(live) as (network, client):
        await client.register("alice", "alice@example.com", PASSWORD)
        await client.connect()
        network.leads_to(None)
        network.cut()
        for _ in range(6):
            await eventually(lambda: client.connection_state is ConnectionState.OFFLINE)
            client.reconnect()
            await asyncio.sleep(0.05)
        assert client.login is not None
        (session,) = await _sessions(live, client)
        tokens.lifetime = -60
        client.login.access_token = tokens.issue(client.login.user_id, session)
        tokens.lifetime = 60
        network.leads_to(live.url)
        client.reconnect()
        await client.connect()
        assert client.connection_state is ConnectionState.ONLINE


async def _sessions(live: Live, client: Client) -> list[int]:
    assert client.login is not None
    async with live.client(client.login.access_token) as http:
        return [each["id"] for each in (await http.get("/api/auth/sessions")).json()]


async def test_renewal_that_nobody_waits_for_any_more(live: Live) -> None:
    """Is carried through: a refresh token is good once, and its answer must not be lost."""
    alice = await live.person("alice")
    transport = Slow("/api/auth/refresh", 0.3)
    async with Client(live.url, transport=transport) as client:
        await client.log_in(alice.username, PASSWORD)
        assert client.login is not None
        client.login.access_token = "worn out"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await client.account.get()
        assert (await client.account.get()).username == alice.username


async def test_more_chats_open_than_a_socket_takes(live: Live) -> None:
    """One hears of fewer, and is online all the same."""
    alice = await live.person("alice")
    ids = [await alice.group() for _ in range(103)]
    async with logged_in(alice) as client:
        await client.connect()
        for chat_id in ids:
            await client.open_chat(chat_id)
        await client.disconnect()
        await asyncio.wait_for(client.connect(), 10)
        assert await client.send(ids[-1], "hello") == 1


async def test_messages_that_cannot_be_sent(live: Live) -> None:
    """Too large for a frame, half a character: they fail alone, and hold up nobody."""
    alice = await live.person("alice")
    chat_id, other = await alice.group(), await alice.group()
    async with logged_in(alice) as client:
        await client.connect()
        with pytest.raises(errors.ContentTooLarge):
            await client.send(chat_id, "x" * 300_000)
        with pytest.raises(errors.InvalidInput, match="half a character"):
            await client.send(chat_id, "bad \udc80")
        with pytest.raises(errors.InvalidInput, match="half a character"):
            await client.messages.send(chat_id, "bad \udc80")
        assert await client.send(other, "fine") == 1
        assert client.connection_state is ConnectionState.ONLINE


@pytest.mark.parametrize(
    "first", ["no json", "[]", '{"type": "ready"}', "[" * 100_000, '{"type": "ack", "ref": 1}']
)
async def test_server_that_says_nonsense_on_the_socket(first: str) -> None:
    """One is told so, and it is tried again: nothing hangs, and no task dies in silence."""

    async def talk(connection: websockets.ServerConnection) -> None:
        await connection.send(first)
        await connection.wait_closed()

    async with websockets.serve(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        from blazechat.client import Login

        login = Login(f"http://127.0.0.1:{port}", 1, "alice", "token", "token", 0.0)
        async with Client(login.url, vault=MemoryVault(login)) as client:
            await client.restore_login()
            client.start()
            await eventually(lambda: client.connection_state is ConnectionState.OFFLINE and client.connection_reason)
            assert "BlazeChat" in client.connection_reason or "A frame is not" in client.connection_reason


@pytest.mark.parametrize(
    "answer",
    [
        b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nabcd",
        b'content-length: 8\r\n\r\n{"a": "\xff',
        b"content-length: 100000\r\n\r\n" + b"[" * 100_000,
        b"date: Mon, 01 Jan 0001 00:00:00 GMT\r\ncontent-length: 2\r\n\r\n[]",
    ],
)
async def test_server_that_says_nonsense_over_http(answer: bytes) -> None:
    """It is one error with a sentence, whatever is wrong with it."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n" + answer)
            await writer.drain()
            writer.close()

    listener = await asyncio.start_server(answers, "127.0.0.1", 0)
    async with listener, Client(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}") as client:
        with pytest.raises((NotBlazeChat, Unreachable)):
            await client.log_in("alice", PASSWORD)


async def test_nothing_hangs_when_it_ends(live: Live) -> None:
    """Sends, listeners and connects that are waited for, at close, log-out, disconnect, and afterwards."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    async with through_wire(live) as (network, client):
        await client.log_in(alice.username, PASSWORD)
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(0)
        await client.disconnect()
        with pytest.raises(NotConnected):
            await asyncio.wait_for(connecting, 5)
        await client.connect()
        network.leads_to(None)
        network.cut()
        await eventually(lambda: client.connection_state is ConnectionState.OFFLINE)
        sending = asyncio.create_task(client.send(chat_id, "never"))
        listening = asyncio.create_task(anext(client.events()))
        await asyncio.sleep(0.1)
        await asyncio.wait_for(client.close(), 10)
        with pytest.raises(NotConnected):
            await asyncio.wait_for(sending, 5)
        listening.cancel()
        with pytest.raises(NotConnected):
            await client.account.get()
    async with logged_in(alice) as client:
        events = client.events()
        await client.connect()
        await client.log_out()
        with pytest.raises(LoggedOut):
            await asyncio.wait_for(_to_the_end(events), 5)
    async with logged_in(alice) as client:
        await client.connect()
        await client.sessions.revoke_all()
        await eventually(lambda: client.connection_state is ConnectionState.ENDED)
        with pytest.raises(SessionEnded):
            await asyncio.wait_for(client.send(chat_id, "too late"), 5)


async def _to_the_end(events: EventStream) -> None:
    async for _ in events:
        pass


async def test_disconnect_in_the_moment_of_a_cut(live: Live) -> None:
    """Python 3.11 loses a cancellation that comes while a group of tasks is ending by itself."""
    alice = await live.person("alice")
    async with through_wire(live) as (network, client):
        await client.log_in(alice.username, PASSWORD)
        for turns in range(12):
            await client.connect()
            network.cut()
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(client.disconnect(), 5)
            assert client.connection_state is ConnectionState.OFFLINE


async def test_history_that_changes_while_the_connection_is_lost(live: Live) -> None:
    """What one may see now is loaded, though what told of it was told before the cut."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(history="joined")
    for number in range(3):
        await bob.say(chat_id, str(number))
    await bob.post(f"/api/chats/{chat_id}/members", [alice.id])
    async with (
        wire(Random(1)) as network,
        Client(network.url, transport=Slow("/api/chats/", 0.5)) as client,
    ):
        network.leads_to(live.url)
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await bob.say(chat_id, "3")
        await eventually(lambda: client.state.chats[chat_id].last_message_id == 4)
        await bob.put(f"/api/chats/{chat_id}", {"history": "all"})
        await eventually(lambda: client.state.chats[chat_id].history is History.ALL)
        network.cut()
        await eventually(lambda: client.connection_state is not ConnectionState.ONLINE)
        await client.connect()
        while await client.load_older(chat_id):
            pass
        assert sorted(client.state.chats[chat_id].messages) == [1, 2, 3, 4]


async def test_reload_keeps_how_far_one_has_read(live: Live) -> None:
    """And what was said while the chat was asked for."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, history="joined")
    for number in range(3):
        await bob.say(chat_id, str(number))
    slow = Slow(f"/api/chats/{chat_id}", 0.0)
    async with Client(live.url, transport=slow) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        slow.seconds = 0.5
        await bob.put(f"/api/chats/{chat_id}", {"history": "all"})
        await asyncio.sleep(0.2)
        await client.mark_read(chat_id)
        await bob.say(chat_id, "3")
        await bob.put(f"/api/chats/{chat_id}", {"history": "joined"})
        await bob.say(chat_id, "4")
        await asyncio.sleep(1.5)
        chat = client.state.chats[chat_id]
        assert (chat.read_id, chat.last_message_id, chat.history) == (3, 5, History.JOINED)
        assert {4, 5} <= chat.messages.keys() or chat.loaded_from == 5


async def test_nothing_is_let_out_while_a_chat_is_loaded_anew(live: Live) -> None:
    """Though the server says meanwhile that all was told: what is being loaded may be older than that."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, history="joined")
    slow = Slow(f"/api/chats/{chat_id}", 0.0)
    async with Client(live.url, transport=slow) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        slow.seconds = 0.5
        await bob.put(f"/api/chats/{chat_id}", {"history": "all"})
        await eventually(lambda: client.state.chats[chat_id].held_events is not None)
        await asyncio.sleep(0.2)
        await client._connection_loop.send_command("resume", chats={chat_id: client.state.chats[chat_id].version})
        said = await bob.say(chat_id, "hello")
        await eventually(lambda: not client.state.chats[chat_id].needs_reload)
        await eventually(lambda: client.state.chats[chat_id].version == said["version"])
        assert client.state.chats[chat_id].messages[said["id"]].content == "hello"


class Meanwhile(httpx2.AsyncHTTPTransport):
    """Something happens before the first page of messages is asked for; counts the pages."""

    def __init__(self) -> None:
        super().__init__(verify=NO_TLS)
        self.pages = 0
        self.happens: Callable[[], Awaitable[object]] | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/messages"):
            self.pages += 1
            happens, self.happens = self.happens, None
            if happens is not None:
                await happens()
        return await super().handle_async_request(request)


async def test_page_that_comes_for_a_chat_that_was_loaded_anew(live: Live) -> None:
    """It is asked for again; and no more is loaded than one wanted."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, history="joined")
    for number in range(320):
        await bob.say(chat_id, str(number))
    async with Client(live.url, transport=(network := Meanwhile())) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        for history in ("all", "joined"):
            before = client.state.chats[chat_id]

            async def load_anew(history: str = history, before: object = before) -> None:
                await bob.put(f"/api/chats/{chat_id}", {"history": history})
                await eventually(lambda: client.state.chats[chat_id] is not before)

            network.happens, network.pages = load_anew, 0
            chat = await client.open_chat(chat_id, 60)
            assert chat is client.state.chats[chat_id]
            await eventually(lambda: len(client.state.chats[chat_id].messages) >= 50)
            assert len(chat.messages) < 200
            assert network.pages <= 5
            await client.close_chat(chat_id)
            chat.messages = {chat.last_message_id: chat.messages[chat.last_message_id]}
            chat.loaded_from = chat.last_message_id


async def test_removal_while_an_open_chat_is_loaded_anew_ends_nothing_else(live: Live) -> None:
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice)
    for number in range(3):
        await bob.say(chat_id, str(number))
    async with Client(live.url, transport=(network := Meanwhile())) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await client.open_chat(chat_id)
        events = client.events()
        network.happens = partial(bob.delete, f"/api/chats/{chat_id}/members/{alice.id}")
        await bob.put(f"/api/chats/{chat_id}", {"history": "joined"})
        await eventually(lambda: chat_id not in client.state.chats)
        other = await bob.direct(alice)
        await eventually(lambda: other in client.state.chats)
        events.close()
        assert not [event async for event in events if isinstance(event, ConnectionChanged)]


async def test_what_one_wants_while_it_catches_up(live: Live) -> None:
    """Is told once it has: opened chats, watched people, how far one has read."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.direct(alice)
    await bob.say(chat_id, "hello")
    async with Client(live.url, transport=Slow("/api/sync", 0.5)) as client, logged_in(bob) as his:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await client.disconnect()
        client.start()
        await eventually(lambda: client.connection_state is ConnectionState.SYNCING)
        await client.open_chat(chat_id)
        await client.mark_read(chat_id)
        await client.watch_users([bob.id])
        await client.connect()
        assert (await alice.get(f"/api/chats/{chat_id}")).json()["unread"] == 0
        await his.connect()
        await his.open_chat(chat_id)
        await his.set_typing(chat_id)
        await eventually(lambda: client.state.chats[chat_id].typing_user_ids == [bob.id])
        await eventually(lambda: client.state.presence[bob.id].status == "online")


async def test_one_client_for_two_people(live: Live) -> None:
    """One after the other: neither sees, nor sends, what is the other's."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.say(chat_id, "one")
    async with Client(live.url) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await client.disconnect()
        client.enqueue(chat_id, "by alice")
        await client.log_in(bob.username, PASSWORD)
        await client.connect()
        chat = client.state.chats[chat_id]
        assert (chat.my_id, chat.unread, [each.id for each in chat.other_members]) == (bob.id, 1, [alice.id])
        assert client.outbox.messages() == []
        assert await client.send(chat_id, "by bob") == 2
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await eventually(lambda: not client.outbox.unsent_by_chat())
    said = [(m["user_id"], m["content"]) for m in await alice.history(chat_id)]
    assert said == [(alice.id, "by alice"), (bob.id, "by bob"), (alice.id, "one")]


async def test_nothing_that_is_stored_stays_in_the_outbox(live: Live, tmp_path: Path) -> None:
    """Also where its message was part of the overview, or its chat is gone."""
    alice = await live.person("alice")
    chat_id, doomed = await alice.group(), await alice.group()
    path = tmp_path / "outbox.jsonl"
    async with Client(live.url, outbox_path=path) as client:
        await client.log_in(alice.username, PASSWORD)
        draft = client.enqueue(chat_id, "stored")
        await alice.say(chat_id, "stored", client_id=draft.client_id)
    async with Client(live.url, outbox_path=path) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await eventually(lambda: not client.outbox.messages())
        await client.send(doomed, "soon gone")
        await alice.delete(f"/api/chats/{doomed}")
        await eventually(lambda: doomed not in client.state.chats)
        assert client.outbox.messages() == []


async def test_what_was_refused_stays_so(live: Live, tmp_path: Path) -> None:
    """Through a restart, until somebody tries it again or discards it."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group()
    path = tmp_path / "outbox.jsonl"
    async with Client(live.url, outbox_path=path) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        with pytest.raises(errors.NotFound):
            await client.send(chat_id, "too early")
    await bob.post(f"/api/chats/{chat_id}/members", [alice.id])
    async with Client(live.url, outbox_path=path) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        (draft,) = client.outbox.messages()
        assert draft.state is SendState.FAILED
        assert "no such chat" in str(draft.error)
        assert await bob.history(chat_id) == []
        client.retry(draft)
        assert await draft.wait_sent() == 1


def test_journal_with_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a disk did not take whole is lost alone; what was there stays."""
    path = tmp_path / "outbox.jsonl"
    journal = Journal(path)
    journal.write(JournalEntry("first", content="first"))
    real = os.write
    taken: list[bool] = []

    def full(file: int, content: bytes) -> int:
        if taken:
            raise OSError(28, "No space left on device")
        taken.append(True)
        return real(file, content[:10])

    monkeypatch.setattr(os, "write", full)
    journal.write(JournalEntry("second", content="second"))
    monkeypatch.setattr(os, "write", real)
    journal.write(JournalEntry("third", content="third"))
    journal.close()
    taken.clear()
    monkeypatch.setattr(os, "write", full)
    assert [line.client_id for line in Journal(path).read()] == ["first", "third"]
    monkeypatch.setattr(os, "write", real)
    assert [line.client_id for line in Journal(path).read()] == ["first", "third"]
    assert [json.loads(line)["client_id"] for line in path.read_text().splitlines()] == ["first", "third"]


async def test_log_in_of_another_server_is_none(live: Live) -> None:
    """A token goes to the server that gave it, whatever a vault says."""
    alice = await live.person("alice")
    vault = MemoryVault()
    async with Client(live.url, vault=vault) as client:
        await client.log_in(alice.username, PASSWORD)
    async with Client("http://localhost:1", vault=vault) as elsewhere:
        with pytest.raises(LoggedOut):
            await elsewhere.restore_login()


async def test_deletion_whose_answer_was_lost(live: Live) -> None:
    """Is no error when it is asked for again."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    async with through_wire(live) as (network, client):
        await client.log_in(alice.username, PASSWORD)
        deleting = asyncio.create_task(client.chats.delete(chat_id))
        await eventually(lambda: _is_gone(alice, chat_id, network))
        await asyncio.wait_for(deleting, 10)


class Forgetful(httpx2.AsyncHTTPTransport):
    """Loses the answer to the first deletion; `meanwhile` is what happens before it is asked for again."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__(verify=NO_TLS)
        self.lost = 0
        self._meanwhile = meanwhile

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await super().handle_async_request(request)
        if request.method == "DELETE" and not self.lost:
            self.lost += 1
            await answer.aclose()
            if self._meanwhile is not None:
                await self._meanwhile()
            raise httpx2.ReadError("lost")
        return answer


async def test_removal_whose_answer_was_lost(live: Live) -> None:
    """The chat is told as it is then; who has left needs no answer."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    for person, members in ((alice, 1), (bob, 0)):
        async with Client(live.url, transport=(network := Forgetful())) as client:
            await client.log_in(person.username, PASSWORD)
            if person is alice:
                assert (await client.chats.remove_member(chat_id, bob.id)).member_count == members
                await client.chats.add_members(chat_id, [bob.id])
            else:
                await client.chats.leave(chat_id)
            assert network.lost == 1


async def test_what_was_taken_back_where_one_is_no_member_any_more(live: Live) -> None:
    """Is not told as done, and not as nonsense: there is nothing there for one."""
    alice, bob = await live.people("alice", "bob")
    for take_back in ("unreact", "unpin"):
        chat_id = await alice.group(bob)
        message = await alice.say(chat_id, "hello")
        network = Forgetful(partial(alice.delete, f"/api/chats/{chat_id}/members/{bob.id}"))
        async with Client(live.url, transport=network) as client:
            await client.log_in(bob.username, PASSWORD)
            await client.messages.react(chat_id, message["id"], "👍")
            rest = ["👍"] if take_back == "unreact" else []
            with pytest.raises(errors.NotFound):
                await getattr(client.messages, take_back)(chat_id, message["id"], *rest)
        assert network.lost == 1


async def _is_gone(alice: Person, chat_id: int, network: Wire) -> bool:
    answer = await alice.get(f"/api/chats/{chat_id}")
    if answer.status_code == 404:
        network.cut()
    return answer.status_code == 404


async def test_more_than_a_page_is_opened(live: Live) -> None:
    """As many messages as were asked for; and every one of them is told of as new once."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.direct(alice)
    for number in range(160):
        await bob.say(chat_id, str(number))
    async with logged_in(alice) as client:
        await client.connect()
        chat = await client.open_chat(chat_id, 150)
        assert len(chat.messages) >= 150
        events = client.events()
        await bob.say(chat_id, "new")
        async with asyncio.timeout(5):
            async for event in events:
                if isinstance(event, MessageCreated):
                    assert event.message.content == "new"
                    break
