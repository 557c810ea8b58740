"""The SDK handles failures of the network, of the server and of its callers, one failure per test."""

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
    ConnectionChanged,
    ConnectionState,
    EventStream,
    History,
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
from tests.clients.wire import TcpProxy, tcp_proxy
from tests.conftest import NewServer
from tests.harness import NO_TLS, PASSWORD, Live, Person, eventually


class SlowTransport(httpx2.AsyncHTTPTransport):
    """Delays the responses of all paths with this prefix."""

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
async def through_proxy(live: Live, **options: Any) -> AsyncIterator[tuple[TcpProxy, Client]]:
    async with tcp_proxy(Random(1)) as network, Client(network.url, **options) as client:
        network.forward_to(live.url)
        yield network, client


async def test_outage_longer_than_a_token_keeps_the_session(new_server: NewServer) -> None:
    """However many attempts to reconnect fail in between."""
    live = await new_server()
    tokens = live.app.state.services.credentials.tokens
    async with through_proxy(live) as (network, client):
        await client.register("alice", "alice@example.com", PASSWORD)
        await client.connect()
        network.forward_to(None)
        network.cut()
        for _ in range(6):
            await eventually(lambda: client.connection_state is ConnectionState.OFFLINE)
            client.reconnect()
            await asyncio.sleep(0.05)
        assert client.login is not None
        (session,) = await _sessions(live, client)
        tokens.lifetime_seconds = -60
        client.login.access_token = tokens.issue(client.login.user_id, session)
        tokens.lifetime_seconds = 60
        network.forward_to(live.url)
        client.reconnect()
        await client.connect()
        assert client.connection_state is ConnectionState.ONLINE


async def _sessions(live: Live, client: Client) -> list[int]:
    assert client.login is not None
    async with live.client(client.login.access_token) as http:
        return [each["id"] for each in (await http.get("/api/auth/sessions")).json()]


async def test_renewal_of_a_cancelled_request_is_completed(live: Live) -> None:
    """A refresh token is valid once, so the response to its use must not be lost."""
    alice = await live.person("alice")
    transport = SlowTransport("/api/auth/refresh", 0.3)
    async with Client(live.url, transport=transport) as client:
        await client.log_in(alice.username, PASSWORD)
        assert client.login is not None
        client.login.access_token = "rejected"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await client.account.get()
        assert (await client.account.get()).username == alice.username


async def test_more_open_chats_than_a_socket_permits(live: Live) -> None:
    """Some of them have no typing and read events, and the client is online."""
    alice = await live.person("alice")
    ids = [await alice.group() for _ in range(103)]
    async with logged_in(alice) as client:
        await client.connect()
        for chat_id in ids:
            await client.open_chat(chat_id)
        await client.disconnect()
        await asyncio.wait_for(client.connect(), 10)
        assert await client.send(ids[-1], "hello") == 1


async def test_messages_that_cannot_be_sent_fail_alone(live: Live) -> None:
    """Too large for a frame, or not valid Unicode: other messages are sent."""
    alice = await live.person("alice")
    chat_id, other = await alice.group(), await alice.group()
    async with logged_in(alice) as client:
        await client.connect()
        with pytest.raises(errors.ContentTooLarge):
            await client.send(chat_id, "x" * 300_000)
        with pytest.raises(errors.InvalidInput, match="lone surrogate"):
            await client.send(chat_id, "bad \udc80")
        with pytest.raises(errors.InvalidInput, match="lone surrogate"):
            await client.messages.send(chat_id, "bad \udc80")
        assert await client.send(other, "fine") == 1
        assert client.connection_state is ConnectionState.ONLINE


@pytest.mark.parametrize(
    "first", ["no json", "[]", '{"type": "ready"}', "[" * 100_000, '{"type": "ack", "ref": 1}']
)
async def test_invalid_frames_are_reported(first: str) -> None:
    """The client reports the error and reconnects: nothing hangs, and no task dies unnoticed."""

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
            await eventually(
                lambda: client.connection_state is ConnectionState.OFFLINE and client.connection_reason
            )
            reason = client.connection_reason
            assert "BlazeChat" in reason or "a frame that is not" in reason


@pytest.mark.parametrize(
    "answer",
    [
        b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nabcd",
        b'content-length: 8\r\n\r\n{"a": "\xff',
        b"content-length: 100000\r\n\r\n" + b"[" * 100_000,
        b"date: Mon, 01 Jan 0001 00:00:00 GMT\r\ncontent-length: 2\r\n\r\n[]",
    ],
)
async def test_invalid_http_responses_are_reported(answer: bytes) -> None:
    """As one kind of error, whatever is invalid."""

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


async def test_nothing_hangs_at_the_end(live: Live) -> None:
    """Pending sends, streams and connects end with close, logout or disconnect, and raise afterwards."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    async with through_proxy(live) as (network, client):
        await client.log_in(alice.username, PASSWORD)
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(0)
        await client.disconnect()
        with pytest.raises(NotConnected):
            await asyncio.wait_for(connecting, 5)
        await client.connect()
        network.forward_to(None)
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
            await asyncio.wait_for(_exhaust(events), 5)
    async with logged_in(alice) as client:
        await client.connect()
        await client.sessions.revoke_all()
        await eventually(lambda: client.connection_state is ConnectionState.ENDED)
        with pytest.raises(SessionEnded):
            await asyncio.wait_for(client.send(chat_id, "too late"), 5)


async def _exhaust(events: EventStream) -> None:
    async for _ in events:
        pass


async def test_disconnect_during_a_cut_ends(live: Live) -> None:
    """Python 3.11 loses a cancellation that arrives while a task group is ending by itself."""
    alice = await live.person("alice")
    async with through_proxy(live) as (network, client):
        await client.log_in(alice.username, PASSWORD)
        for turns in range(12):
            await client.connect()
            network.cut()
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(client.disconnect(), 5)
            assert client.connection_state is ConnectionState.OFFLINE


async def test_history_that_changes_before_a_cut_is_loaded_after_it(live: Live) -> None:
    """The messages that became visible are loaded, although their event arrived on the old connection."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(history="joined")
    for number in range(3):
        await bob.say(chat_id, str(number))
    await bob.post(f"/api/chats/{chat_id}/members", [alice.id])
    async with (
        tcp_proxy(Random(1)) as network,
        Client(network.url, transport=SlowTransport("/api/chats/", 0.5)) as client,
    ):
        network.forward_to(live.url)
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


async def test_reload_keeps_the_read_cursor(live: Live) -> None:
    """And the messages that arrived while the chat was loading."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, history="joined")
    for number in range(3):
        await bob.say(chat_id, str(number))
    slow = SlowTransport(f"/api/chats/{chat_id}", 0.0)
    async with Client(live.url, transport=slow) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        slow.seconds = 0.5
        await bob.put(f"/api/chats/{chat_id}", {"history": "all"})
        await eventually(lambda: client.state.chats[chat_id].held_events is not None)
        await client.mark_read(chat_id)
        await bob.say(chat_id, "3")
        await bob.put(f"/api/chats/{chat_id}", {"history": "joined"})
        await bob.say(chat_id, "4")
        await eventually(lambda: client.state.chats[chat_id].last_message_id == 5)
        await eventually(lambda: not client.state.chats[chat_id].needs_reload)
        chat = client.state.chats[chat_id]
        assert (chat.read_id, chat.last_message_id, chat.history) == (3, 5, History.JOINED)
        assert {4, 5} <= chat.messages.keys() or chat.loaded_from == 5


async def test_events_are_held_back_while_a_chat_reloads(live: Live) -> None:
    """A `synced` frame does not release them, since the loaded state may be older than it."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, history="joined")
    slow = SlowTransport(f"/api/chats/{chat_id}", 0.0)
    async with Client(live.url, transport=slow) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        slow.seconds = 0.5
        await bob.put(f"/api/chats/{chat_id}", {"history": "all"})
        await eventually(lambda: client.state.chats[chat_id].held_events is not None)
        await asyncio.sleep(0.2)
        await client._connection_loop.send_command(
            "resume", chats={chat_id: client.state.chats[chat_id].version}
        )
        said = await bob.say(chat_id, "hello")
        await eventually(lambda: not client.state.chats[chat_id].needs_reload)
        await eventually(lambda: client.state.chats[chat_id].version == said["version"])
        assert client.state.chats[chat_id].messages[said["id"]].content == "hello"


class HookedTransport(httpx2.AsyncHTTPTransport):
    """Calls `hook` before the first page of messages is requested, and counts the pages."""

    def __init__(self) -> None:
        super().__init__(verify=NO_TLS)
        self.pages = 0
        self.hook: Callable[[], Awaitable[object]] | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/messages"):
            self.pages += 1
            hook, self.hook = self.hook, None
            if hook is not None:
                await hook()
        return await super().handle_async_request(request)


async def test_page_for_a_chat_that_was_reloaded_meanwhile(live: Live) -> None:
    """It is requested again, and not more is loaded than the caller wanted."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice, history="joined")
    for number in range(320):
        await bob.say(chat_id, str(number))
    async with Client(live.url, transport=(network := HookedTransport())) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        for history in ("all", "joined"):
            before = client.state.chats[chat_id]

            async def load_anew(history: str = history, before: object = before) -> None:
                await bob.put(f"/api/chats/{chat_id}", {"history": history})
                await eventually(lambda: client.state.chats[chat_id] is not before)

            network.hook, network.pages = load_anew, 0
            chat = await client.open_chat(chat_id, 60)
            assert chat is client.state.chats[chat_id]
            await eventually(lambda: len(client.state.chats[chat_id].messages) >= 50)
            assert len(chat.messages) < 200
            assert network.pages <= 5
            await client.close_chat(chat_id)
            chat.messages = {chat.last_message_id: chat.messages[chat.last_message_id]}
            chat.loaded_from = chat.last_message_id


async def test_removal_during_a_reload_keeps_the_connection(live: Live) -> None:
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.group(alice)
    for number in range(3):
        await bob.say(chat_id, str(number))
    async with Client(live.url, transport=(network := HookedTransport())) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await client.open_chat(chat_id)
        events = client.events()
        network.hook = partial(bob.delete, f"/api/chats/{chat_id}/members/{alice.id}")
        await bob.put(f"/api/chats/{chat_id}", {"history": "joined"})
        await eventually(lambda: chat_id not in client.state.chats)
        other = await bob.direct(alice)
        await eventually(lambda: other in client.state.chats)
        events.close()
        assert not [event async for event in events if isinstance(event, ConnectionChanged)]


async def test_calls_during_recovery_are_sent_after_it(live: Live) -> None:
    """Open chats, watched users and read cursors."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.direct(alice)
    await bob.say(chat_id, "hello")
    async with Client(live.url, transport=SlowTransport("/api/sync", 0.5)) as client, logged_in(bob) as his:
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


async def test_two_accounts_of_one_client_are_separate(live: Live) -> None:
    """One after the other: neither sees the other's chats nor sends the other's messages."""
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
        assert (chat.my_id, chat.unread, [each.id for each in chat.other_members]) == (
            bob.id,
            1,
            [alice.id],
        )
        assert client.outbox.messages() == []
        assert await client.send(chat_id, "by bob") == 2
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await eventually(lambda: not client.outbox.unsent_by_chat())
    said = [(m["user_id"], m["content"]) for m in await alice.history(chat_id)]
    assert said == [(alice.id, "by alice"), (bob.id, "by bob"), (alice.id, "one")]


async def test_stored_messages_leave_the_outbox(live: Live, tmp_path: Path) -> None:
    """Also if the message was part of the overview, or its chat is gone."""
    alice = await live.person("alice")
    chat_id, doomed = await alice.group(), await alice.group()
    path = tmp_path / "outbox.jsonl"
    async with Client(live.url, outbox_path=path) as client:
        await client.log_in(alice.username, PASSWORD)
        pending = client.enqueue(chat_id, "stored")
        await alice.say(chat_id, "stored", client_id=pending.client_id)
    async with Client(live.url, outbox_path=path) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await eventually(lambda: not client.outbox.messages())
        await client.send(doomed, "soon gone")
        await alice.delete(f"/api/chats/{doomed}")
        await eventually(lambda: doomed not in client.state.chats)
        assert client.outbox.messages() == []


async def test_failed_messages_survive_a_restart(live: Live, tmp_path: Path) -> None:
    """They stay failed until they are retried or discarded."""
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
        (pending,) = client.outbox.messages()
        assert pending.state is SendState.FAILED
        assert "no such chat" in str(pending.error)
        assert await bob.history(chat_id) == []
        client.retry(pending)
        assert await pending.wait_sent() == 1


def test_journal_keeps_the_format_of_its_file(tmp_path: Path) -> None:
    """A file of an earlier version is read: what was sent is not sent again, what failed has its reason."""
    path = tmp_path / "outbox.jsonl"
    path.write_text(
        '{"client_id":"sent","author_id":1,"chat_id":2,"content":"x","tried":true}\n'
        '{"client_id":"sent","done":true}\n'
        '{"client_id":"failed","author_id":1,"chat_id":2,"content":"y","tried":true,"refused":"No."}\n'
    )
    failed = JournalEntry("failed", 1, 2, "y", was_attempted=True, error="No.")
    assert Journal(path).read() == [failed]
    assert '"refused":"No."' in path.read_text()


def test_journal_with_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the entry that was not written completely is lost."""
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
    assert [entry.client_id for entry in Journal(path).read()] == ["first", "third"]
    monkeypatch.setattr(os, "write", real)
    assert [entry.client_id for entry in Journal(path).read()] == ["first", "third"]
    assert [json.loads(line)["client_id"] for line in path.read_text().splitlines()] == ["first", "third"]


async def test_login_of_another_server_is_ignored(live: Live) -> None:
    """A token is sent only to the server that issued it, whatever the vault contains."""
    alice = await live.person("alice")
    vault = MemoryVault()
    async with Client(live.url, vault=vault) as client:
        await client.log_in(alice.username, PASSWORD)
    async with Client("http://localhost:1", vault=vault) as elsewhere:
        with pytest.raises(LoggedOut):
            await elsewhere.restore_login()


async def test_deletion_with_a_lost_response_succeeds(live: Live) -> None:
    """The retry finds nothing to delete, and that is no error."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    async with through_proxy(live) as (network, client):
        await client.log_in(alice.username, PASSWORD)
        deleting = asyncio.create_task(client.chats.delete(chat_id))
        await eventually(lambda: _is_gone(alice, chat_id, network))
        await asyncio.wait_for(deleting, 10)


class LossyTransport(httpx2.AsyncHTTPTransport):
    """Loses the response to the first DELETE, and calls `hook` before the retry."""

    def __init__(self, hook: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__(verify=NO_TLS)
        self.lost = 0
        self._hook = hook

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await super().handle_async_request(request)
        if request.method == "DELETE" and not self.lost:
            self.lost += 1
            await answer.aclose()
            if self._hook is not None:
                await self._hook()
            raise httpx2.ReadError("lost")
        return answer


async def test_removal_with_a_lost_response_succeeds(live: Live) -> None:
    """It returns the current chat. Leaving a chat returns nothing."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    for person, members in ((alice, 1), (bob, 0)):
        async with Client(live.url, transport=(network := LossyTransport())) as client:
            await client.log_in(person.username, PASSWORD)
            if person is alice:
                assert (await client.chats.remove_member(chat_id, bob.id)).member_count == members
                await client.chats.add_members(chat_id, [bob.id])
            else:
                await client.chats.leave(chat_id)
            assert network.lost == 1


async def test_undo_with_a_lost_response_by_a_removed_member(live: Live) -> None:
    """Raises NotFound, since the message is not visible any more."""
    alice, bob = await live.people("alice", "bob")
    for take_back in ("unreact", "unpin"):
        chat_id = await alice.group(bob)
        message = await alice.say(chat_id, "hello")
        network = LossyTransport(partial(alice.delete, f"/api/chats/{chat_id}/members/{bob.id}"))
        async with Client(live.url, transport=network) as client:
            await client.log_in(bob.username, PASSWORD)
            await client.messages.react(chat_id, message["id"], "👍")
            rest = ["👍"] if take_back == "unreact" else []
            with pytest.raises(errors.NotFound):
                await getattr(client.messages, take_back)(chat_id, message["id"], *rest)
        assert network.lost == 1


async def _is_gone(alice: Person, chat_id: int, network: TcpProxy) -> bool:
    answer = await alice.get(f"/api/chats/{chat_id}")
    if answer.status_code == 404:
        network.cut()
    return answer.status_code == 404


async def test_open_chat_loads_several_pages(live: Live) -> None:
    """As many messages as requested. A message that arrives afterwards is delivered as new once."""
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
