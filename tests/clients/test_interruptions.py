"""The SDK's state equals the server's and each message is stored once, whatever happens to connections.

`CLIENT_SEED=7` repeats a run, `CLIENT_CUTS=1000` makes it longer.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from blazechat.client import (
    ApiError,
    ChatCreated,
    ChatDeleted,
    ChatGone,
    ChatReset,
    ChatState,
    Client,
    ConnectionState,
    Event,
    History,
    MemberRemoved,
    Message,
    MessageCreated,
    MessageUpdated,
    PendingMessage,
    Role,
    SendState,
    SessionEnded,
    errors,
)
from blazechat.client.events import ChatEvent
from blazechat.domain.auth.access_tokens import LEEWAY_SECONDS
from tests.clients.wire import TcpProxy, tcp_proxy
from tests.conftest import NewDatabase
from tests.faults.test_kill import ServerCommand
from tests.harness import PASSWORD, eventually

CUTS = int(os.environ.get("CLIENT_CUTS", "100"))
USERS = 5
SETTLE_SECONDS = 60.0


@dataclass(eq=False)
class Person:
    """A user: a client, the messages it sent, and the events it received."""

    client: Client
    sent: list[PendingMessage] = field(default_factory=list)
    seen: dict[int, set[int]] = field(default_factory=dict)  # ids of messages delivered as new, by chat
    versions: dict[int, int] = field(default_factory=dict)
    known_up_to: dict[int, int] = field(default_factory=dict)  # ids up to these are not new, by chat

    async def listen(self) -> None:
        async for event in self.client.events():
            self.check_event(event)

    def check_event(self, event: Event) -> None:
        """Check that versions ascend and that no event is delivered twice."""
        match event:
            case ChatCreated(chat_id=chat_id, chat=chat):
                self._begin(chat_id, chat.last_message_id)
            case ChatReset(chat_id=chat_id):
                self._end(chat_id)
                if chat_id in self.client.state.chats:
                    self._begin(chat_id, self.client.state.chats[chat_id].last_message_id)
                return
            case ChatDeleted(chat_id=chat_id) | ChatGone(chat_id=chat_id):
                self._end(chat_id)
                return
            case MemberRemoved(chat_id=chat_id, user_id=user_id) if user_id == self.client.state.my_id:
                self._end(chat_id)
                return
        if isinstance(event, ChatEvent):
            assert event.version > self.versions.get(event.chat_id, 0), f"delivered twice: {event}"
            self.versions[event.chat_id] = event.version
        if isinstance(event, MessageCreated):
            seen = self.seen.setdefault(event.chat_id, set())
            assert event.message.id not in seen, f"new twice: {event}"
            seen.add(event.message.id)
        elif isinstance(event, MessageUpdated):
            is_old = event.message.id <= self.known_up_to.get(event.chat_id, 0)
            is_known = is_old or event.message.id in self.seen.get(event.chat_id, set())
            assert is_known or event.chat_id not in self.known_up_to, f"changed, but was never new: {event}"

    def _begin(self, chat_id: int, newest: int) -> None:
        self._end(chat_id)
        self.known_up_to[chat_id] = newest

    def _end(self, chat_id: int) -> None:
        self.seen.pop(chat_id, None)
        self.versions.pop(chat_id, None)
        self.known_up_to.pop(chat_id, None)

    def check_all_was_delivered(self, chat: ChatState) -> None:
        if chat.id not in self.known_up_to or chat.history is History.JOINED:
            return
        seen = self.seen.get(chat.id, set())
        for message in chat.ordered_messages():
            if message.id > self.known_up_to[chat.id] and message.deleted_at is None:
                assert message.id in seen, f"never delivered: {message}"


async def test_state_equals_the_servers(open_folder: Path, new_database: NewDatabase) -> None:
    """After a hundred cuts under traffic, with the server stopped, killed and restarted."""
    seed = int(os.environ.get("CLIENT_SEED", secrets.randbelow(10**6)))
    print(f"CLIENT_SEED={seed}")
    random = Random(seed)
    dsn = await new_database()
    command = ServerCommand(open_folder / "data", DATABASE_URL=dsn, BLAZECHAT_RESUME_LIMIT="60")
    async with tcp_proxy(random) as network:
        try:
            network.forward_to(await asyncio.to_thread(command.start))
            async with contextlib.AsyncExitStack() as stack:
                people = [await _person(stack, network, number) for number in range(USERS)]
                await _cause_interruptions(people, network, command, random)
        finally:
            if command.process is not None and command.process.poll() is None:
                command.kill()
            print("".join(command.output))
    assert "Traceback" not in "".join(command.output)


async def _person(stack: contextlib.AsyncExitStack, network: TcpProxy, number: int) -> Person:
    client = await stack.enter_async_context(Client(network.url, retry_seconds=SETTLE_SECONDS))
    await client.register(f"user{number}", f"user{number}@example.com", PASSWORD)
    await client.connect()
    return Person(client)


async def _cause_interruptions(
    people: list[Person], network: TcpProxy, command: ServerCommand, random: Random
) -> None:
    clients = [person.client for person in people]
    team = await clients[0].chats.create_group("Team", [client.state.my_id for client in clients[1:]])
    await eventually(lambda: all(team.id in client.state.chats for client in clients))
    for person in people:
        await person.client.open_chat(team.id)
    listening = [asyncio.create_task(person.listen()) for person in people]
    enough = asyncio.Event()
    acting = [
        asyncio.create_task(_act_at_random(person, people, team.id, Random(random.random()), enough))
        for person in people
    ]
    restarts: dict[int, Callable[[], object]] = {CUTS // 3: command.stop, 2 * CUTS // 3: command.kill}
    while network.cuts < CUTS:
        await asyncio.sleep(random.uniform(0.05, 0.4))
        network.cut(random.choice([0.1, 0.3, 1.0]))
        due = [at for at in restarts if network.cuts >= at]
        for at in due:
            await asyncio.to_thread(restarts.pop(at))
            network.forward_to(None)
            await asyncio.sleep(random.uniform(0, 2))
            network.forward_to(await asyncio.to_thread(command.start))
        broken = [task for task in (*listening, *acting) if task.done()]
        assert not broken, [task.exception() for task in broken]
    enough.set()
    for client in clients:
        client.reconnect()
    await asyncio.gather(*acting)
    await _check(people)
    print(f"{network.cuts} cuts, {sum(len(person.sent) for person in people)} messages")
    for task in listening:
        assert not task.done(), task.exception()
        task.cancel()


async def _act_at_random(
    person: Person, people: list[Person], team: int, random: Random, enough: asyncio.Event
) -> None:
    """Send and change things at random. The server may reject any of it."""
    client = person.client
    while not enough.is_set():
        await asyncio.sleep(random.expovariate(12))
        chats = sorted(client.state.chats)
        chat_id = random.choice(chats) if chats and random.random() < 0.4 else team
        other = random.choice(people).client.state.my_id
        if random.random() < 0.6:
            person.sent.append(client.enqueue(chat_id, f"<{client.state.my_id}.{len(person.sent)}>"))
            continue
        with contextlib.suppress(ApiError, errors.Unreachable, errors.NotConnected):
            await _do_something(client, chat_id, other, team, random)


async def _do_something(  # noqa: C901
    client: Client, chat_id: int, other: int, team: int, random: Random
) -> None:
    chat = client.state.chats.get(chat_id)
    if chat is None:
        return
    message_id = random.randint(1, max(1, chat.last_message_id))
    match random.randrange(16):
        case 0 | 1 | 2:
            await client.messages.edit(chat_id, message_id, f"<edited {random.random()}>")
        case 3:
            await client.messages.delete(chat_id, message_id)
        case 4 | 5:
            await client.messages.react(chat_id, message_id, random.choice("👍🎉🦀"))
        case 6:
            await client.messages.unreact(chat_id, message_id, random.choice("👍🎉🦀"))
        case 7:
            await client.messages.pin(chat_id, message_id)
        case 8 | 9:
            await client.mark_read(chat_id, message_id)
        case 10:
            await client.chats.create_direct(other)
        case 11:
            await client.chats.create_group(f"Group {random.random()}", [other])
        case 12 if chat_id != team:
            await client.chats.add_members(chat_id, [other])
        case 13 if chat_id != team:
            await client.chats.remove_member(chat_id, other)
        case 14:
            changes: list[dict[str, Any]] = [{"name": f"Name {random.random()}"}]
            changes += [{"history": each} for each in History if chat_id != team]
            await client.chats.update(chat_id, **random.choice(changes))
        case 15:
            if random.random() < 0.3 and chat_id != team:
                await client.chats.delete(chat_id)
            elif chat_id != team:
                await client.chats.set_role(chat_id, other, random.choice(list(Role)))


async def _check(people: list[Person]) -> None:
    for person in people:
        await eventually(lambda p=person: _is_settled(p), SETTLE_SECONDS)
    for person in people:
        await _check_state(person)
    for chat_id, messages in [
        (chat.id, chat.ordered_messages())
        for person in people
        for chat in person.client.state.chats.values()
    ]:
        _check_sends(people, chat_id, messages)


def _is_settled(person: Person) -> bool:
    states = (SendState.WAITING, SendState.SENDING)
    unsent = [pending for pending in person.sent if pending.state in states]
    return not unsent and person.client.connection_state is ConnectionState.ONLINE


async def _check_state(person: Person) -> None:
    """Compare the state with what the server returns over HTTP."""
    client = person.client
    differences: list[object] = []
    try:
        await eventually(lambda: _has_caught_up(client, differences), SETTLE_SECONDS)
    except TimeoutError:
        pytest.fail(f"user {client.state.my_id} is {client.connection_state}, and differs: {differences}")
    for chat in list(client.state.chats.values()):
        fresh = await client.chats.get(chat.id)
        mine = (chat.name, chat.role, chat.history, chat.version, chat.last_message_id, chat.read_id)
        assert mine == (
            fresh.name,
            fresh.role,
            fresh.history,
            fresh.version,
            fresh.last_message_id,
            fresh.read_id,
        ), (chat.id, mine, fresh)
        assert chat.unread == fresh.unread
        assert chat.member_count == fresh.member_count
        roles = {member.id: member.role for member in chat.members.values()}
        assert roles == {member.id: member.role for member in fresh.users}
        window = {message.id: _versioned(message) for message in chat.ordered_messages()}
        while await client.load_older(chat.id, 100):
            pass
        stored = await _stored(client, chat.id)
        assert {each.id: _versioned(each) for each in chat.messages.values()} == stored
        lowest = min(window, default=0)
        assert window == {each: message for each, message in stored.items() if each >= lowest}
        person.check_all_was_delivered(chat)


async def _has_caught_up(client: Client, differences: list[object]) -> bool:
    """Return True if the state has everything that the server has; `differences` receives what is missing.

    The last requests may take effect only now, and may cause chats to be reloaded.
    """
    current = {chat.id: chat.version for chat in (await client.chats.overview()).chats}
    known = client.state.chats
    differences[:] = known.keys() ^ current.keys()
    for chat_id in known.keys() & current.keys():
        chat = known[chat_id]
        is_loading = chat.held_events is not None or chat.needs_reload or not chat.is_role_known
        if chat.version < current[chat_id] or is_loading:
            differences.append((chat_id, chat.version, current[chat_id], chat.held_events, is_loading))
    return client.connection_state is ConnectionState.ONLINE and not differences


async def _stored(client: Client, chat_id: int) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    before: int | None = None
    while True:
        page = await client.messages.page(chat_id, before=before, limit=100)
        found |= {message.id: _versioned(message) for message in page}
        if page.older is None:
            return found
        before = page.older


def _versioned(message: Message) -> dict[str, Any]:
    """Return the versioned fields of a message. `is_read` and the author's names have no version."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    del fields["is_read"], fields["user"]
    fields["reactions"].sort(key=lambda reaction: reaction["emoji"])
    return fields


def _check_sends(people: list[Person], chat_id: int, messages: list[Message]) -> None:
    """Each message is stored once, and each author's messages are in the order of the sends."""
    client_ids = [message.client_id for message in messages]
    assert len(client_ids) == len(set(client_ids))
    by_client_id = {message.client_id: message for message in messages}
    lowest = messages[0].id if messages else 0
    for person in people:
        sent = [pending for pending in person.sent if pending.chat_id == chat_id]
        for pending in sent:
            if pending.state is SendState.SENT and (pending.message_id or 0) >= lowest:
                assert by_client_id[pending.client_id].id == pending.message_id, pending
            elif pending.state is SendState.FAILED and not isinstance(pending.error, errors.NotFound):
                # A removed member cannot find out whether an earlier attempt was stored.
                assert pending.client_id not in by_client_id, pending
        ids = [by_client_id[p.client_id].id for p in sent if p.client_id in by_client_id]
        assert ids == sorted(ids), f"out of order: {ids}"


async def test_outbox_file_survives_the_program(new_server: Any, tmp_path: Path) -> None:
    """Messages of a client without a connection are sent once, although two clients read the file."""
    live = await new_server()
    path = tmp_path / "outbox" / "alice.jsonl"
    async with Client(live.url) as client:
        await client.register("alice", "alice@example.com", PASSWORD)
        chat = await client.chats.create_group("Team")
    async with Client(live.url, outbox_path=path) as offline:
        first, second = offline.enqueue(chat.id, "first"), offline.enqueue(chat.id, "second")
        assert offline.outbox.discard(second)
        offline.enqueue(chat.id, "third")
    assert path.stat().st_mode & 0o077 == 0
    async with Client(live.url, outbox_path=path) as one, Client(live.url, outbox_path=path) as two:
        for again in (one, two):
            await again.log_in("alice", PASSWORD)
            await again.connect()
        for again in (one, two):
            await eventually(lambda c=again: not c.outbox.unsent_by_chat())
        stored = [message async for message in _all(one, chat.id)]
        assert [message.content for message in stored] == ["third", "first"]
        assert stored[1].client_id == first.client_id
    async with Client(live.url, outbox_path=path) as later:
        assert later.outbox.for_chat(chat.id) == []


async def _all(client: Client, chat_id: int) -> Any:
    for message in await client.messages.page(chat_id):
        yield message


async def test_session_continues_while_tokens_expire(new_server: Any) -> None:
    """The live connection renews the token in time; without a connection, the next request does."""
    live = await new_server()
    tokens = live.app.state.services.credentials.tokens
    tokens.lifetime_seconds = 4
    async with Client(live.url) as client:
        await client.register("alice", "alice@example.com", PASSWORD)
        await client.connect()
        events = client.events()
        first = client.login.access_token if client.login else ""
        await eventually(lambda: client.login and client.login.access_token != first)
        assert (await client.account.get()).username == "alice"
        assert client.connection_state is ConnectionState.ONLINE
        assert client.login is not None
        events.close()
        assert [event async for event in events] == []
        await client.disconnect()
        tokens.lifetime_seconds = -LEEWAY_SECONDS
        (session,) = await client.sessions.list_all()
        client.login.access_token = tokens.issue(client.login.user_id, session.id)
        tokens.lifetime_seconds = 60
        await client.connect()
        events = client.events()
        await client.sessions.revoke_all()
        with pytest.raises(SessionEnded):
            async for _ in events:
                pass
        with pytest.raises(SessionEnded):
            await client.connect()
