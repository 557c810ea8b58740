"""Clients that start before their server, and clients whose server is away for a while."""

import asyncio
import inspect
import logging
import random
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import pytest

from blazechat.client import (
    BlazeChatError,
    Client,
    ConnectionChanged,
    ConnectionState,
    EventStream,
    NotBlazeChat,
    Unreachable,
    errors,
    request,
)
from blazechat.client import socket as client_socket
from blazechat.client.reconnect import MAX_AWAY_PAUSE_SECONDS, MAX_PAUSE_SECONDS, Backoff
from blazechat.client.socket import ConnectionClosed
from tests.clients.wire import TcpProxy, tcp_proxy
from tests.harness import PASSWORD, Live, Person, eventually

ROOT = Path(__file__).parent.parent.parent
PAGES = ("README.md", "docs/sdk.md")

NUMBERS = {2.0: "two"}
ONLINE_SECONDS = 3.0
"""Within this time after the server is ready, clients are online."""
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
    b'content-length: 56\r\n\r\n{"code":"unavailable","detail":"The database is away."}\n'
)
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a port on which nothing listens: connections to it are refused."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@asynccontextmanager
async def answering(response: bytes, *, port: int = 0) -> AsyncIterator[int]:
    """Answer every request with these bytes; yield the port. No bytes close the connection at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if response:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def server_at(live: Live, port: int) -> AsyncIterator[None]:
    """Make the server reachable at another port."""
    proxy = TcpProxy(random.Random(1))
    proxy.forward_to(live.url)
    async with await asyncio.start_server(proxy.handle, "127.0.0.1", port):
        yield
        proxy.cut()


async def _logged_wait(caplog: pytest.LogCaptureFixture) -> str:
    """Wait until a line is logged; return it."""
    await eventually(lambda: caplog.messages)
    return caplog.messages[0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "cannot be reached: Connection refused"),
        (b"", "was lost"),
        (BAD_GATEWAY, "its proxy answers 502"),
        (UNAVAILABLE, "The database is away."),
    ],
    ids=["refused", "closed", "502", "503"],
)
async def test_log_in_waits_for_the_server(
    answer: bytes | None, reason: str, live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs that once, and is logged in when the server is there."""
    alice = await live.person("alice")
    caplog.set_level(logging.WARNING, "blazechat.client")
    with reserved_port() as port:
        pass
    async with Client(f"http://127.0.0.1:{port}", retry_seconds=0) as client:
        async with answering(answer, port=port) if answer is not None else nullcontext():
            logging_in = asyncio.create_task(client.log_in(alice.username, PASSWORD, wait_for_server=True))
            line = await _logged_wait(caplog)
        assert reason in line
        assert line.endswith(" Waiting for the server.")
        async with server_at(live, port), asyncio.timeout(ONLINE_SECONDS):
            assert (await logging_in).user_id == alice.id
        assert caplog.messages == [line]


@pytest.mark.parametrize("answer", [b"", BAD_GATEWAY, UNAVAILABLE], ids=["closed", "502", "503"])
async def test_events_wait_for_the_server(
    answer: bytes, live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    """So do `start()` and `connect()`, unless `wait_for_server` is False: then they raise the error."""
    alice = await live.person("alice")
    caplog.set_level(logging.WARNING, "blazechat.client")
    async with Client(live.url, retry_seconds=0) as client:
        await client.log_in(alice.username, PASSWORD)
        async with answering(answer) as port:
            client.http.url = f"http://127.0.0.1:{port}"
            with pytest.raises((Unreachable, errors.Unavailable)) as raised:
                await client.connect(wait_for_server=False)
            with pytest.raises(type(raised.value)):
                await anext_state(client.events(wait_for_server=False), ConnectionState.ONLINE)
            assert not caplog.messages
            events = client.events()
            line = await _logged_wait(caplog)
            assert line.endswith(" Waiting for the server.")
        async with server_at(live, port):
            await anext_state(events, ConnectionState.ONLINE)
        assert caplog.messages == [line]


async def anext_state(events: EventStream, wanted: ConnectionState) -> ConnectionChanged:
    """Return the next event about a connection state."""
    async with asyncio.timeout(10):
        async for event in events:
            if isinstance(event, ConnectionChanged) and event.state is wanted:
                return event
    raise AssertionError("the stream has ended")


async def test_wrong_addresses_and_logins_are_not_waited_for(live: Live) -> None:
    """Another program at the address, TLS where there is none, and a wrong password are raised at once."""
    alice = await live.person("alice")
    async with answering(NOT_FOUND) as port, asyncio.timeout(10):
        async with Client(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(NotBlazeChat, match="status 404"):
                await client.log_in("alice", PASSWORD, wait_for_server=True)
        async with Client(live.url) as client:
            await client.log_in(alice.username, PASSWORD)
            client.http.url = f"http://127.0.0.1:{port}"
            with pytest.raises(NotBlazeChat, match="status 404"):
                await anext(_after_connecting(client.events()))
    async with Client(live.url.replace("http:", "https:")) as client, asyncio.timeout(10):
        with pytest.raises(NotBlazeChat, match=r"No secure connection .* does not use TLS"):
            await client.log_in(alice.username, PASSWORD, wait_for_server=True)
    async with Client(live.url) as client, asyncio.timeout(10):
        with pytest.raises(errors.WrongCredentials):
            await client.log_in(alice.username, "wrong", wait_for_server=True)
        with pytest.raises(errors.Unauthenticated):
            await client.use_token("bzt_wrong", wait_for_server=True)
        for malformed in ("", "bzt_a\n", "bzt_ä"):
            with pytest.raises(errors.Unauthenticated, match="This is not an API token"):
                await client.use_token(malformed, wait_for_server=True)


async def _after_connecting(events: EventStream) -> AsyncIterator[ConnectionChanged]:
    async for event in events:
        if isinstance(event, ConnectionChanged) and event.state is ConnectionState.ONLINE:
            yield event


async def test_documented_bot_waits_answers_and_ends_quietly(live: Live, tmp_path: Path) -> None:
    """README's bot runs as printed: started before the server, ended by Ctrl-C without a traceback."""
    code, same = (
        re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[0] for page in PAGES
    )
    assert code == same
    bot, alice = await live.people("bot", "alice")
    chat_id = await alice.direct(bot)
    with reserved_port() as port:
        pass
    program = tmp_path / "bot.py"
    program.write_text(
        code.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace(
            '"bot", "wonderland"', f'"{bot.username}", "{PASSWORD}"'
        )
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, program),
        stdout=pipe,
        stderr=pipe,
        cwd=ROOT,
        # A background process of a script inherits SIGINT as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
        assert line.endswith(
            "cannot be reached: Connection refused. Check the address. Waiting for the server.\n"
        )
        async with server_at(live, port):
            await eventually(lambda: _is_online(alice, bot))
            await alice.say(chat_id, "Hello")
            await eventually(lambda: _has_said(alice, chat_id, "You said: Hello"))
            process.send_signal(signal.SIGINT)
            output = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, *output) == (0, b"", b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _is_online(person: Person, other: Person) -> bool:
    return bool((await person.get(f"/api/users/{other.id}/status")).json()["status"] == "online")


async def _has_said(person: Person, chat_id: int, content: str) -> bool:
    return content in [message["content"] for message in await person.history(chat_id)]


async def test_known_server_is_waited_for_even_if_another_program_answers(live: Live) -> None:
    """A login that was restored, or was online before, does not end with a proxy's error page."""
    alice = await live.person("alice")
    async with Client(live.url) as client:
        await client.log_in(alice.username, PASSWORD)
        await client.connect()
        await client.disconnect()
        async with answering(NOT_FOUND) as port:
            client.http.url = f"http://127.0.0.1:{port}"
            events = client.events()
            assert "404" in (await anext_state(events, ConnectionState.OFFLINE)).reason
        client.http.url = live.url
        client.reconnect()
        await anext_state(events, ConnectionState.ONLINE)


async def test_online_within_three_seconds_after_the_server_is_back(live: Live) -> None:
    """However often the client has tried before."""
    alice = await live.person("alice")
    async with tcp_proxy(random.Random(3)) as network, Client(network.url) as client:
        network.forward_to(live.url)
        await client.log_in(alice.username, PASSWORD)
        events = client.events()
        await anext_state(events, ConnectionState.ONLINE)
        network.forward_to(None)
        network.cut()
        for _ in range(40):
            away = await anext_state(events, ConnectionState.OFFLINE)
            assert away.retry_in is not None
            assert away.retry_in <= 2
            client.reconnect()
        await anext_state(events, ConnectionState.OFFLINE)
        network.forward_to(live.url)
        async with asyncio.timeout(ONLINE_SECONDS):
            await anext_state(events, ConnectionState.ONLINE)


def test_documented_limits_are_those_of_the_code() -> None:
    """docs/sdk.md has the default of every parameter of a client, and the limits of a connection."""
    page = (ROOT / "docs/sdk.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) \| (.+? \|.+?) \|$", page, re.MULTILINE))
    defaults = {name: each.default for name, each in inspect.signature(Client).parameters.items()}
    limits = {
        "`Client(retry_seconds=…)`": [defaults["retry_seconds"]],
        "`Client(kept_messages=…)`": [defaults["kept_messages"]],
        "`events(backlog=…)`": [inspect.signature(Client.events).parameters["backlog"].default],
        "one HTTP request": [
            *(request.TIMEOUT.connect, request.TIMEOUT.read),
            *(request.FIRST_PAUSE_SECONDS, request.MAX_PAUSE_SECONDS),
        ],
        "handshake of the live connection": [client_socket.OPEN_TIMEOUT],
        "a command on the live connection": [client_socket.ACK_TIMEOUT],
        "ping": [client_socket.PING_SECONDS, client_socket.PING_SECONDS],
    }
    for name, values in limits.items():
        found = [float(each.replace(",", "")) for each in re.findall(r"\d[\d,.]*(?<=\d)", rows[name])]
        assert found[: len(values)] == values, name
    section = page.partition("## The live connection")[2].partition("\n## ")[0]
    assert f"after at most {NUMBERS[MAX_AWAY_PAUSE_SECONDS]} seconds" in section
    assert f"doubles up to {MAX_PAUSE_SECONDS:.0f} seconds" in section


def test_many_clients_come_back_spread_out() -> None:
    """Over seconds after a restart, and over a longer and longer time while the server is overloaded."""

    def pauses(*causes: BlazeChatError) -> list[float]:
        """Return the pause of each of 1000 clients after the last of these errors."""
        found = []
        for _ in range(1000):
            backoff = Backoff()
            found.append([backoff.pause_after(error) for error in causes][-1])
        return sorted(found)

    def share_of_fullest_tenth(pauses: list[float], width: float) -> float:
        """Return the largest share of clients that come back within a tenth of `width`."""
        counts = [sum(begin <= p < begin + width / 10 for p in pauses) for begin in pauses]
        return max(counts) / len(pauses)

    restarted, refused = ConnectionClosed(1012, "restarts"), Unreachable("refused")
    busy = errors.from_problem(errors.Problem("busy", "Busy.", 503, retry_after=2))
    first, later = pauses(restarted), pauses(restarted, *[refused] * 30)
    assert first[-1] <= 1
    assert later[-1] <= 2
    for spread in (first, later):
        assert share_of_fullest_tenth(spread, 1) < 0.2
    assert share_of_fullest_tenth(pauses(busy), 1) < 0.2
    overloaded = pauses(restarted, *[refused] * 30, *[busy] * 6)
    assert overloaded[0] >= 2
    assert overloaded[-1] <= MAX_PAUSE_SECONDS + 2
    assert share_of_fullest_tenth(overloaded, MAX_PAUSE_SECONDS) < 0.2
    assert pauses(ConnectionClosed(1013, "read too slowly"))[0] >= 3
