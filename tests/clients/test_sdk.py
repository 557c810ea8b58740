"""The SDK covers the whole API, raises clear errors, and its documented examples run."""

import asyncio
import builtins
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest

from blazechat import client as sdk
from blazechat.client import (
    ApiError,
    Client,
    ConnectionChanged,
    ConnectionState,
    History,
    InvalidServerUrl,
    LoggedOut,
    MessageCreated,
    NotBlazeChat,
    PresenceChanged,
    ReadCursorMoved,
    Role,
    Status,
    Typing,
    Unreachable,
    UserUpdated,
    errors,
    server_url,
)
from blazechat.client.http import USER_AGENT
from blazechat.errors import all_errors
from blazechat.web import create_app
from tests.conftest import NewServer
from tests.harness import NO_TLS, PASSWORD, Live, Person, eventually, settings_for

ROOT = Path(__file__).parent.parent.parent

NOT_CALLED_HERE = {
    "POST /api/token",  # aliases and the conversations API, which duplicate other endpoints
    "POST /api/users",
    "GET /api/users/me",
    "POST /api/messages/conversations",
    "GET /api/messages/conversations",
    "POST /api/messages/conversations/{conversation_id}/messages",
    "GET /api/messages/conversations/{conversation_id}/messages",
    "POST /api/auth/ticket",  # for browsers, which cannot send a header
    "POST /api/media",  # for clients without tus
    "OPTIONS /api/uploads",
    "HEAD /api/uploads/{media_id}",  # after a lost connection: tests/files/test_sdk_files.py
    "DELETE /api/uploads/{media_id}",
    "POST /hooks/{token}",  # for external programs
    "POST /hooks/reply/{token}",
    "GET /healthz",  # for operators
    "GET /readyz",
    "GET /api",
    "GET /api/test",
    "GET /api/dbtest",
}


class Recorder(httpx2.AsyncHTTPTransport):
    """Records the requests."""

    def __init__(self) -> None:
        super().__init__(verify=NO_TLS)
        self.requests: set[str] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.add(f"{request.method} {request.url.path}")
        return await super().handle_async_request(request)


@contextlib.asynccontextmanager
async def logged_in(person: Person) -> AsyncIterator[Client]:
    async with Client(person.live.url) as client:
        await client.log_in(person.username, PASSWORD)
        yield client


async def test_every_endpoint_can_be_called(new_server: NewServer) -> None:
    """The SDK has a method for each endpoint, and decodes its response, except for NOT_CALLED_HERE."""
    live = await new_server()
    recorder = Recorder()
    bob = await live.person("bob")
    carol = await live.person("carol")
    async with Client(live.url, transport=recorder) as client:
        await client.register("alice", "alice@example.com", PASSWORD)
        assert (await client.server.info()).url == live.url
        await _call_account_and_users(client, bob)
        await _call_chats(client, bob, carol)
        await _call_messages(client, bob)
        await _call_files(client, bob)
        await _call_bots_and_tokens(client)
        await _call_integrations(client)
        await client.http.renew_token()
        sessions = await client.sessions.list_all()
        await client.sessions.revoke(sessions[0].id)
        await client.log_in("alice", PASSWORD)
        await client.sessions.revoke_all()
        await client.log_in("alice", PASSWORD)
        await client.log_out()
        await client.log_in("alice", PASSWORD)
        await client.account.delete()
    async with Client(live.url, transport=recorder) as admin:
        await admin.log_in(bob.username, PASSWORD)  # the first account of the server
        await _call_webhooks(admin, None)
        invitation = await admin.invitations.create(days=2)
        assert invitation.code
        assert [each.id for each in await admin.invitations.page()] == [invitation.id]
        await admin.invitations.revoke(invitation.id)
    paths = create_app(settings_for("postgresql://nowhere/x")).openapi()["paths"]
    wanted = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    missing = {
        call
        for call in wanted - NOT_CALLED_HERE
        if not any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", call), asked) for asked in recorder.requests)
    }
    assert not missing
    assert wanted >= NOT_CALLED_HERE


async def _call_account_and_users(client: Client, bob: Person) -> None:
    me = await client.account.get()
    assert (await client.account.update(display_name="Alice")).display_name == "Alice"
    assert (await client.account.set_status(Status.AWAY)).status is Status.AWAY
    assert (await client.users.get(bob.id)).username == bob.username
    assert (await client.users.presence(bob.id)).status is Status.OFFLINE
    found = await client.users.find(f"@{bob.username.upper()}")
    assert found is not None
    assert found.id == bob.id
    assert await client.users.find("nobody") is None
    assert me.id in [user.id for user in await client.users.page()]


async def _call_chats(client: Client, bob: Person, carol: Person) -> None:
    chats = client.chats
    direct = await chats.create_direct(bob.id)
    assert (await chats.create_direct(bob.id)).id == direct.id
    group = await chats.create_group("Team", [bob.id], History.JOINED)
    assert (await chats.get(group.id)).history is History.JOINED
    assert (await chats.update(group.id, name="Our team")).name == "Our team"
    assert (await chats.add_members(group.id, [carol.id])).member_count == 3
    assert (await chats.set_role(group.id, bob.id, Role.OWNER)).role is Role.ADMIN
    assert len([member async for member in chats.members(group.id)]) == 3
    assert (await chats.remove_member(group.id, carol.id)).member_count == 2
    assert [chat.id for chat in (await chats.overview()).chats] == [group.id, direct.id]
    page = await chats.page(limit=1)
    assert page.older == 1
    assert [chat.id for chat in await chats.page(limit=1, skip=page.older)] == [direct.id]
    changes = await chats.changes(group.id, 1)
    assert (changes.more, changes.reset) == (False, False)
    assert changes.version > 1
    await chats.leave(group.id)
    with pytest.raises(errors.NotFound):
        await chats.get(group.id)
    await chats.delete(direct.id)


async def _call_bots_and_tokens(client: Client) -> None:
    bot = await client.bots.create("deploys")
    assert (await client.bots.update(bot.id, display_name="Deploys")).is_bot
    made = await client.tokens.create("CI", bot_id=bot.id, days=3)
    assert made.token is not None
    assert made.token not in repr(made)
    assert [each.id for each in await client.tokens.list_all(bot_id=bot.id)] == [made.id]
    await client.tokens.revoke(made.id)
    assert await client.tokens.list_all() == []
    assert [each.id for each in await client.bots.list_all()] == [bot.id]
    await client.bots.delete(bot.id)


async def _call_integrations(client: Client) -> None:
    chat = (await client.chats.create_group("Alerts")).id
    incoming = await client.incoming_webhooks.create(chat, "Grafana")
    assert incoming.url is not None
    assert incoming.url not in repr(incoming)
    assert [each.name for each in await client.incoming_webhooks.list_all(chat)] == ["Grafana"]
    changed = await client.incoming_webhooks.change_template(chat, incoming.id, "{{ title }}")
    assert (changed.template, changed.last_error) == ("{{ title }}", None)
    assert (
        await client.incoming_webhooks.preview(chat, "{{ n }} of {{ event }}", {"n": 1}, event="e")
        == "1 of e"
    )
    with pytest.raises(errors.InvalidInput, match="Line 1"):
        await client.incoming_webhooks.preview(chat, "{{ n", {})
    github = await client.incoming_webhooks.create(chat, "GitHub", template="github")
    assert github.template == "github"
    await client.incoming_webhooks.revoke(chat, incoming.id)
    command = await client.slash_commands.create(chat, "/ship", "http://127.0.0.1:9/", name="Ships")
    assert command.secret not in (None, repr(command))
    assert [each.word for each in await client.slash_commands.list_all(chat)] == ["/ship"]
    with pytest.raises(errors.CommandFailed):
        await client.slash_commands.invoke(chat, "/ship it")
    await client.slash_commands.delete(chat, command.id)
    await _call_webhooks(client, chat)
    await client.chats.delete(chat)


async def _call_webhooks(client: Client, place: int | None) -> None:
    made = await client.webhooks.create(place, "http://127.0.0.1:9/", ["message.created"])
    assert made.secret not in (None, repr(made))
    assert [each.id for each in await client.webhooks.list_all(place)] == [made.id]
    assert (await client.webhooks.update(place, made.id, events=["chat.deleted"])).enabled
    assert (await client.webhooks.rotate_secret(place, made.id)).secret not in (None, made.secret)
    assert (await client.webhooks.ping(place, made.id)).error is not None
    (delivery,) = await client.webhooks.deliveries(place, made.id, state="dead")
    shown = await client.webhooks.delivery(place, made.id, delivery.id)
    assert (shown.type, len(shown.attempts)) == ("ping", 1)
    assert (await client.webhooks.redeliver(place, made.id, delivery.id)).state == "waiting"
    assert await client.webhooks.redeliver_all(place, made.id) == 0
    assert (await client.webhooks.get(place, made.id)).secret is None
    await client.webhooks.delete(place, made.id)


async def _call_files(client: Client, bob: Person) -> None:
    upload = await client.files.upload(b"words", name="a.txt")
    direct = await client.chats.create_direct(bob.id)
    said = await client.messages.send(direct.id, "", attachments=[upload.id])
    assert await client.files.download(said.attachments[0]) == b"words"
    another = await client.files.upload(b"other words", name="b.txt")
    assert [each.id for each in await client.files.page()] == [another.id, upload.id]
    assert (await client.files.get(another.id)).ready
    assert await client.files.download(another) == b"other words"
    await client.files.delete(another.id)


async def _call_messages(client: Client, bob: Person) -> None:
    messages = client.messages
    chat = await client.chats.create_direct(bob.id)
    sent = await messages.send(chat.id, "first", client_id="mine")
    assert (await messages.send(chat.id, "first", client_id="mine")).id == sent.id
    second = await client.send(chat.id, "second", reply_to=sent.id)
    assert (await messages.get(chat.id, second)).reply_to == sent.id
    assert (await messages.edit(chat.id, second, "edited")).edited_at is not None
    reacted = await messages.react(chat.id, second, "👩‍👩‍👧")
    assert reacted.reactions[0].emoji == "👩‍👩‍👧"
    assert (await messages.unreact(chat.id, second, "👩‍👩‍👧")).reactions == []
    assert (await messages.pin(chat.id, second)).pinned_at is not None
    assert [message.id for message in await client.chats.pins(chat.id)] == [second]
    assert (await messages.unpin(chat.id, second)).pinned_at is None
    assert (await messages.read_status(chat.id, second)).unread_by == [bob.id]
    assert (await messages.mark_read(chat.id)).unread == 0
    page = await messages.page(chat.id, limit=1)
    assert page.older == second
    assert [m.id for m in await messages.page(chat.id, before=page.older)] == [sent.id]
    assert [m.id for m in await messages.page(chat.id, after=sent.id)] == [second]
    assert [m.id for m in await messages.page(chat.id, around=sent.id)] == [second, sent.id]
    await messages.delete(chat.id, second)


async def test_bot_works_until_its_token_is_revoked(live: Live) -> None:
    """It receives events and sends messages. When the token is revoked, its event stream raises."""
    alice = await live.person("alice")
    async with logged_in(alice) as owner, Client(live.url) as robot:
        bot = await owner.bots.create(f"bot-of-{alice.username}")
        made = await owner.tokens.create("its only one", bot_id=bot.id)
        chat = await owner.chats.create_direct(bot.id)
        assert (await robot.use_token(made.token or "")).user_id == bot.id
        await robot.connect()
        received = robot.events()
        await owner.messages.send(chat.id, "ping")
        async for event in received:
            if isinstance(event, sdk.MessageCreated):
                await robot.send(event.chat_id, "pong")
                break
        assert [m.content for m in await owner.messages.page(chat.id)] == ["pong", "ping"]
        await owner.tokens.revoke(made.id)
        with pytest.raises(sdk.SessionEnded, match="revoked"):
            async for _ in received:
                pass


def test_every_error_code_of_the_server_has_a_class() -> None:
    """And the SDK has no codes that the server does not have."""
    codes = {kind.code for kind in all_errors()} | {"internal_error"}
    assert set(errors.ERRORS_BY_CODE) - {""} == codes
    for kind in errors.ERRORS_BY_CODE.values():
        assert issubclass(kind, sdk.BlazeChatError)


async def test_errors_are_clear(live: Live) -> None:
    """They name the invalid field, and errors of other libraries are converted."""
    async with Client(live.url) as client:
        with pytest.raises(LoggedOut, match="You are not logged in"):
            await client.account.get()
        with pytest.raises(errors.WrongCredentials, match="user name or password is wrong"):
            await client.log_in("nobody", "nothing")
        with pytest.raises(errors.InvalidInput) as refused:
            await client.register("a b", "alice@example.com", PASSWORD)
        assert [field.field for field in refused.value.fields] == ["username"]
        assert refused.value.status == 422
        assert refused.value.request_id
    async with Client("http://127.0.0.1:1", retry_seconds=0.1) as nowhere:
        with pytest.raises(Unreachable, match="cannot be reached: Connect"):
            await nowhere.log_in("alice", PASSWORD)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\n\r\n<html></html>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    ],
)
async def test_another_server_at_the_address_is_recognised(answer: bytes) -> None:
    """Any response that is not BlazeChat's raises NotBlazeChat."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

    listener = await asyncio.start_server(answers, "127.0.0.1", 0)
    async with listener, Client(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(NotBlazeChat, match="not"):
            await client.log_in("alice", PASSWORD)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("localhost:8000", "http://localhost:8000"),
        (" 127.0.0.1 ", "http://127.0.0.1"),
        ("chat.example.com/", "https://chat.example.com"),
        ("http://example.com:80/chat/", "http://example.com:80/chat"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_addresses_are_completed(written: str, url: str) -> None:
    """Without a scheme, loopback addresses get http, and all others https."""
    assert server_url(written) == url


@pytest.mark.parametrize("written", ["", "ftp://x", "http://", "http://a b", "x:99999", "https://me:pw@x"])
def test_invalid_addresses_are_rejected(written: str) -> None:
    with pytest.raises(InvalidServerUrl):
        server_url(written)


async def test_open_chats_and_watched_users_have_live_events(live: Live) -> None:
    """Read cursors and typing of open chats; presence and names of watched users."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with logged_in(alice) as hers, logged_in(bob) as his:
        await hers.connect()
        await hers.open_chat(chat_id)
        await hers.watch_users([bob.id])
        events = hers.events()
        assert hers.state.presence[bob.id].status is Status.OFFLINE
        await his.connect()
        await his.open_chat(chat_id)
        await his.set_typing(chat_id)
        sent = await hers.send(chat_id, "hello")
        await eventually(lambda: his.state.chats[chat_id].unread == 1)
        await his.mark_read(chat_id)
        await his.account.update(display_name="Robert")
        await his.set_status(Status.AWAY)
        wanted = {Typing, PresenceChanged, ReadCursorMoved, UserUpdated, MessageCreated}
        async with asyncio.timeout(10):
            async for event in events:
                wanted.discard(type(event))
                if not wanted and hers.state.presence[bob.id].status is Status.AWAY:
                    break
        assert hers.state.chats[chat_id].read_cursors == {bob.id: sent}
        assert hers.state.chats[chat_id].members[bob.id].display_name == "Robert"
        assert his.state.chats[chat_id].unread == 0


def examples(page: str) -> list[str]:
    """Return the Python examples of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def main_of(example: str, live: Live) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return the `main()` of an example, for a server at another address."""
    names: dict[str, Any] = {"__name__": "example"}
    code = example.replace("http://127.0.0.1:8000", live.url).replace("asyncio.run(main())", "")
    exec(compile(code, "example", "exec"), names)  # noqa: S102
    main: Callable[[], Coroutine[Any, Any, None]] = names["main"]
    return main


async def test_documented_app_shows_and_sends(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second example of docs/sdk.md runs as it is printed."""
    _, code = examples("docs/sdk.md")
    alice, bob = await live.people("alice", "bob")
    chat_id = await bob.direct(alice)
    await bob.say(chat_id, "Are you awake?")
    monkeypatch.chdir(tmp_path)
    await main_of(code.replace('"alice", "wonderland"', f'"{alice.username}", "{PASSWORD}"'), live)()
    assert "Are you awake?\nstored as 2\n" in capsys.readouterr().out
    assert [message["content"] for message in await alice.history(chat_id)] == [
        "Good morning!",
        "Are you awake?",
    ]
    assert (await alice.get(f"/api/chats/{chat_id}")).json()["unread"] == 0
    assert (tmp_path / "outbox.jsonl").exists()


def test_sdk_page_names_what_exists() -> None:
    """Every attribute of a client, and every class."""
    page = (ROOT / "docs" / "sdk.md").read_text()
    for name in re.findall(r"`client\.(\w+)[`(]", page):
        assert hasattr(Client("http://localhost"), name), name
    for name in re.findall(r"`([A-Z][a-z]\w+)[`.]", page):
        assert any(hasattr(module, name) for module in (sdk, errors, builtins)), name


async def test_logs_contain_no_tokens(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    """Not at DEBUG, and not in the representation of a login."""
    alice = await live.person("alice")
    with caplog.at_level(logging.DEBUG):
        async with logged_in(alice) as client:
            await client.connect()
            await client.http.renew_token()
            assert client.login is not None
            secrets = {client.login.access_token, client.login.refresh_token, PASSWORD}
            printed = f"{client.login!r} {client.login} {vars(client)}"
    for secret in secrets:
        assert secret not in caplog.text
        assert secret not in printed


async def test_slow_stream_reports_dropped_events(live: Live) -> None:
    """With their number. The state is complete."""
    alice = await live.person("alice")
    chat_id = await alice.group()
    async with logged_in(alice) as client:
        await client.connect()
        events = client.events(backlog=5)
        for number in range(8):
            await client.send(chat_id, str(number))
        await eventually(lambda: client.state.chats[chat_id].last_message_id == 8)
        first = await anext(events)
        assert isinstance(first, sdk.EventsDropped)
        assert first.count >= 3


async def test_connection_state_follows_the_connection(new_server: NewServer) -> None:
    """From connecting to online, and offline after logging out."""
    live = await new_server()
    async with Client(live.url, device=f"{USER_AGENT} test") as client:
        with pytest.raises(LoggedOut):
            await client.connect()
        await client.register("alice", "alice@example.com", PASSWORD)
        events = client.events()
        states: list[ConnectionState] = []
        async for event in events:
            if isinstance(event, ConnectionChanged):
                states.append(event.state)
                if event.state is ConnectionState.ONLINE:
                    break
        assert states == [ConnectionState.CONNECTING, ConnectionState.SYNCING, ConnectionState.ONLINE]
        assert [session.device for session in await client.sessions.list_all()] == [f"{USER_AGENT} test"]
        await client.log_out()
        assert client.connection_state is ConnectionState.OFFLINE
        with pytest.raises(LoggedOut):
            await client.connect()
        with pytest.raises(ApiError):
            raise errors.from_problem(errors.Problem("of a later version", "Something new."))
