"""Calls to receivers: public addresses only, and no more time and memory than is given to them."""

import asyncio
import gzip
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from blazechat.errors import InvalidInput
from blazechat.jobs import name_resolver
from blazechat.jobs.http_caller import (
    MAX_BODY_BYTES,
    MAX_HEADER_CHARACTERS,
    HttpCaller,
    HttpFailure,
    HttpResponse,
)
from blazechat.jobs.name_resolver import NameResolver
from blazechat.jobs.ssrf_guard import (
    MAX_RESPONSE_BYTES,
    MAX_URL_CHARACTERS,
    AllowedHosts,
    check_url,
    parse_allowed_hosts,
)
from tests.harness import eventually

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = "127.0.0.0/8, ::1"


class Receiver:
    """A server on a real socket, and what it saw. `script` answers each request that came in whole."""

    def __init__(self, script: Script, greeting: bytes) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.reached: list[str] = []  # the addresses that it was reached under
        self.port = 0
        self.is_open = 0
        self._script = script
        self._greeting = greeting

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.is_open += 1
        self.reached.append(writer.get_extra_info("sockname")[0])
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                writer.write(self._greeting)
                while True:
                    self.requests.append(await _request(reader))
                    await self._script(reader, writer)
        finally:
            self.is_open -= 1
            writer.transport.abort()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head + await reader.readexactly(int(length.partition(b":")[2]))


@asynccontextmanager
async def receiver(
    script: Script, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None, greeting: bytes = b""
) -> AsyncIterator[Receiver]:
    made = Receiver(script, greeting)
    server = await asyncio.start_server(made.handle, host, 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await eventually(lambda: not made.is_open)


@asynccontextmanager
async def caller(
    allowed: str = LOOPBACK,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109
    connections: int = 100,
    resolve: Callable[[str, int], Awaitable[list[str]]] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[HttpCaller]:
    made = HttpCaller(
        allowed=parse_allowed_hosts(allowed),
        timeout=timeout,
        connections=connections,
        user_agent="BlazeChat/test",
        resolve=resolve,
        tls=tls,
    )
    try:
        yield made
    finally:
        await made.close()


def says(answer: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return script


def says_and_closes(answer: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    return script


def says_without_end(beginning: bytes, piece: bytes, pause: float = 0) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


def finds(*answers: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    """Name servers that say one thing after another, and the last for good."""
    left = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


async def _failure(calling: HttpCaller, url: str) -> str:
    result = await calling.post(url, b"{}", {})
    assert isinstance(result, HttpFailure), result
    return result.reason


async def test_answer_is_told() -> None:
    """What was sent arrives, in HTTP/1.1 and uncompressed; what is answered is told, but for cookies."""
    answer = (
        b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nSet-Cookie: a=b\r\nContent-Length: 6\r\n\r\nl\xc3\xa4ter"
    )
    async with receiver(says(answer)) as there, caller() as calling:
        for _ in range(2):
            result = await calling.post(
                f"{there.url}?a=b", b"{}", {"X-Kind": "ü", "host": "evil", "Accept-encoding": "gzip"}
            )
            assert isinstance(result, HttpResponse)
            assert (result.status, result.body) == (503, "läter")
            assert result.headers == {"retry-after": "7", "content-length": "6"}
            assert 0 < result.seconds < 5
    lines = there.requests[1].split(b"\r\n")
    assert lines[0] == b"POST /hook?a=b HTTP/1.1"
    assert lines[-1] == b"{}"
    assert sorted(line.lower() for line in lines[1:-2]) == sorted(
        [
            b"host: 127.0.0.1:%d" % there.port,
            "x-kind: ü".encode(),
            b"user-agent: blazechat/test",
            b"accept: */*",
            b"accept-encoding: identity",
            b"content-length: 2",
        ]
    )


async def test_connections_are_reused() -> None:
    """One after another on one connection; a receiver that closes costs nobody a call."""
    async with receiver(says(OK)) as there, caller() as calling:
        for _ in range(5):
            assert isinstance(await calling.post(there.url, b"{}", {}), HttpResponse)
        assert there.connections == 1
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with receiver(says_and_closes(closing)) as there, caller() as calling:
        for _ in range(3):
            assert isinstance(await calling.post(there.url, b"{}", {}), HttpResponse)
            await eventually(lambda: not there.is_open)
        assert there.connections == 3


async def test_bounds_are_an_answers_and_not_a_connections() -> None:
    """A connection may bring more in its life than one answer may."""
    body = b"x" * MAX_BODY_BYTES
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with receiver(says(answer)) as there, caller() as calling:
        for _ in range(1 + MAX_RESPONSE_BYTES // MAX_BODY_BYTES):
            assert isinstance(await calling.post(there.url, b"{}", {}), HttpResponse)
        assert there.connections == 1


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect to whatever it likes."""
    async with receiver(says(OK)) as proxy, receiver(says(OK)) as there:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with caller() as calling:
            assert isinstance(await calling.post(there.url, b"{}", {}), HttpResponse)
        assert (proxy.connections, there.connections) == (0, 1)


async def test_redirects_are_answers() -> None:
    """Nobody is led on to an address inside."""
    async with receiver(says(OK)) as inside:
        leading = b"HTTP/1.1 307 Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % inside.url.encode()
        async with receiver(says(leading)) as there, caller() as calling:
            result = await calling.post(there.url, b"{}", {})
        assert isinstance(result, HttpResponse)
        assert (result.status, result.headers["location"]) == (307, inside.url)
        assert inside.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.1",
        "017700000001",
        "127.0.0.1.",
        "127。0。0。1",
        "0",
        "0.0.0.0",  # noqa: S104
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ],
)
async def test_no_spelling_leads_to_this_host(host: str) -> None:
    """Each of these is an open door to whoever does not look at the address connected to."""
    async with receiver(says(OK), "0.0.0.0") as there:  # noqa: S104
        url = f"http://{host}:{there.port}/"
        async with caller(allowed="10.0.0.0/8") as calling:
            assert "not allowed" in await _failure(calling, url)
            assert there.connections == 0
        async with caller(allowed="127.0.0.0/8, 0.0.0.0, localhost") as calling:
            assert isinstance(await calling.post(url, b"{}", {}), HttpResponse)
            assert there.connections == 1


@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "ip6-loopback"])
async def test_no_spelling_leads_to_this_host_by_ipv6(host: str) -> None:
    """The same for the newer of the two."""
    async with receiver(says(OK), "::1") as there:
        async with caller("10.0.0.0/8", resolve=finds(["::1"])) as calling:
            assert "not allowed" in await _failure(calling, f"http://{host}:{there.port}/")
            assert there.connections == 0
        async with caller("::1", resolve=finds(["::1"])) as calling:
            assert isinstance(await calling.post(f"http://{host}:{there.port}/", b"{}", {}), HttpResponse)
        assert b"host: " + f"{host}:{there.port}".encode() in there.requests[0].lower()


REFUSED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255
198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::7f00:1 ::8.8.8.8 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:8.8.8.8
64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
2001:2::1 2001:10::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254
fe80::1 fe80::1%eth0 2606:4700::1111%eth0 fec0::1 ff02::1
ff0e::1 127.1 0x7f.1 0177.0.0.1 2130706433 localhost
"""
PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255
::ffff:8.8.8.8 64:ff9b::808:808 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001::1
"""


@pytest.mark.parametrize("address", REFUSED.split())
async def test_address_is_refused(address: str) -> None:
    """What is not globally routed unicast, wherever a name server says it; nothing is told of it."""
    async with caller(allowed="hooks.internal", resolve=finds([address])) as calling:
        reason = await _failure(calling, "http://rebind.example/")
    assert reason == "Requests to rebind.example are not allowed: its address is not public."


@pytest.mark.parametrize("address", PUBLIC.split())
def test_address_is_public(address: str) -> None:
    """Next to what is refused begins what is not."""
    assert AllowedHosts().permits("hooks.example", address)


@given(address=st.ip_addresses())
def test_what_is_public_is_global(address: object) -> None:
    """There is no address that is public to us and not global to Python."""
    found = ip_address(str(address))
    if AllowedHosts().permits("hooks.example", str(found)):
        found = getattr(found, "ipv4_mapped", None) or found
        assert found.is_global
        assert not found.is_multicast


async def test_named_exceptions_are_called() -> None:
    """A name in the setting leads wherever it resolves to, a network is for all names; no others."""
    async with receiver(says(OK)) as there:
        url = f"http://Hooks.Internal.:{there.port}/"
        async with caller("hooks.internal", resolve=finds(["127.0.0.1"])) as calling:
            assert isinstance(await calling.post(url, b"{}", {}), HttpResponse)
            await _failure(calling, f"http://other.internal:{there.port}/")
            await _failure(calling, f"http://x.hooks.internal:{there.port}/")
        async with caller("127.0.0.0/8", resolve=finds(["127.0.0.1"])) as calling:
            assert isinstance(await calling.post(url, b"{}", {}), HttpResponse)


async def test_only_permitted_addresses_of_a_name_are_tried() -> None:
    """A public address does not vouch for the private one beside it."""
    async with receiver(says(OK), "0.0.0.0") as there:  # noqa: S104
        found = finds(["10.0.0.1", "127.0.0.3", "127.0.0.2"])
        async with caller("127.0.0.2/32", resolve=found) as calling:
            assert isinstance(
                await calling.post(f"http://two.example:{there.port}/", b"{}", {}), HttpResponse
            )
        assert there.reached == ["127.0.0.2"]


async def test_second_address_is_tried_when_the_first_refuses() -> None:
    """As a browser does."""
    async with receiver(says(OK), "127.0.0.2") as there:
        found = finds(["127.0.0.9", "127.0.0.2"])
        async with caller(resolve=found) as calling:
            assert isinstance(
                await calling.post(f"http://two.example:{there.port}/", b"{}", {}), HttpResponse
            )


async def test_name_that_changes_its_address_is_judged_anew() -> None:
    """DNS rebinding: what was public a moment ago leads inside now, and no connection is made."""
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with receiver(says(closing), "0.0.0.0") as there:  # noqa: S104
        url = f"http://rebind.example:{there.port}/"
        found = finds(["127.0.0.2"], ["127.0.0.1"])
        async with caller("127.0.0.2/32", resolve=found) as calling:
            assert isinstance(await calling.post(url, b"{}", {}), HttpResponse)
            assert "not allowed" in await _failure(calling, url)
        assert there.reached == ["127.0.0.2"]


async def test_kept_connection_stays_where_it_was_checked() -> None:
    """A name that leads inside by now does not move a connection that is kept."""
    async with receiver(says(OK), "0.0.0.0") as there:  # noqa: S104
        found = finds(["127.0.0.2"], ["127.0.0.1"])
        async with caller("127.0.0.2/32", resolve=found) as calling:
            for _ in range(3):
                await calling.post(f"http://rebind.example:{there.port}/", b"{}", {})
        assert there.reached == ["127.0.0.2"]
        assert len(there.requests) == 3


async def _no_name(host: str, port: int) -> list[str]:
    raise OSError(-2, "Name or service not known")


async def test_unknown_names_and_closed_ports_are_told() -> None:
    """In sentences for whoever gave the URL."""
    async with caller(resolve=_no_name) as calling:
        assert (
            await _failure(calling, "http://gone.example/") == "The host name gone.example has no address."
        )
    async with receiver(says(OK)) as there:
        pass
    async with caller() as calling:
        assert await _failure(calling, there.url) == "The receiver refused the connection."
        assert "a..b" not in await _failure(calling, "http://a..b/")
        assert "https://" in await _failure(calling, "gopher://127.0.0.1/")


@pytest.mark.parametrize(
    "script",
    [
        says_without_end(b"", b"", pause=0.05),
        says_without_end(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a", pause=0.05),
        says_without_end(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", b"a", pause=0.05),
    ],
    ids=["silence", "slow header", "slow body"],
)
async def test_slow_receiver_is_left(script: Script) -> None:
    """The time is for the whole exchange: a byte now and then wins nothing."""
    async with receiver(script) as there, caller(timeout=0.4) as calling:
        result = await calling.post(there.url, b"{}", {})
        assert isinstance(result, HttpFailure)
        assert result.reason == "The receiver did not answer within 0.4 seconds."
        assert 0.35 < result.seconds < 3
        await eventually(lambda: not there.is_open)


async def test_slow_names_and_full_pools_count_as_well() -> None:
    """The time runs from the beginning."""

    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with caller(timeout=0.2, resolve=never) as calling:
        assert "within 0.2 seconds" in await _failure(calling, "http://slow.example/")
    silent = says_without_end(b"", b"", pause=0.05)
    async with receiver(silent) as there, caller(timeout=0.3, connections=1) as calling:
        reasons = await asyncio.gather(_failure(calling, there.url), _failure(calling, there.url))
        assert all("within 0.3 seconds" in reason for reason in reasons)
        assert there.connections <= 2


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n",
    ],
    ids=["announced", "without an end", "in chunks"],
)
async def test_gigabyte_costs_four_kilobytes(beginning: bytes) -> None:
    """The beginning is kept, and the connection closed at once."""
    sent = 0

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(beginning)
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with receiver(script) as there, caller() as calling:
        result = await calling.post(there.url, b"{}", {})
        assert isinstance(result, HttpResponse)
        assert result.body == "x" * MAX_BODY_BYTES
        await eventually(lambda: not there.is_open)
    assert sent < 20_000_000  # buffers of the sockets


async def test_bombs_are_not_opened() -> None:
    """A compressed answer is kept as it came, as bytes that are no text."""
    bomb = gzip.compress(b"a" * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with receiver(says(head + bomb)) as there, caller() as calling:
        result = await calling.post(there.url, b"{}", {})
    assert isinstance(result, HttpResponse)
    assert len(result.body) <= MAX_BODY_BYTES
    assert "aaaa" not in result.body


@pytest.mark.parametrize(
    "script",
    [
        says_without_end(b"HTTP/1.1 200 OK\r\n", b"X-Header: and another\r\n" * 100),
        says_without_end(b"HTTP/1.1 200 OK\r\nX-Long: ", b"a" * 1000),
        says_without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        says_without_end(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 1000),
        says_without_end(b"", b"a" * 1000),
    ],
    ids=["headers", "one header", "continue", "chunk extensions", "no line"],
)
async def test_endless_heads_are_left(script: Script) -> None:
    """Long before the time is over."""
    async with receiver(script) as there, caller(timeout=30) as calling:
        result = await calling.post(there.url, b"{}", {})
        assert isinstance(result, HttpFailure)
        assert result.reason == "The receiver did not send a complete and valid HTTP response."
        assert result.seconds < 10
        await eventually(lambda: not there.is_open)


async def test_few_and_short_headers_are_kept() -> None:
    """Of a thousand lines those that say something, cut; and of a body what a database can keep."""
    lines = b"".join(b"X-%d: y\r\n" % number for number in range(2000)) + b"Server: " + b"s" * 5000
    answer = b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 3\r\n\r\na\0\xff" % lines
    async with receiver(says(answer)) as there, caller() as calling:
        result = await calling.post(there.url, b"{}", {})
    assert isinstance(result, HttpResponse)
    assert result.headers == {"server": "s" * MAX_HEADER_CHARACTERS, "content-length": "3"}
    assert result.body == "a\ufffd\ufffd"


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize(
    "script",
    [
        _reset,
        says_and_closes(b""),
        says_and_closes(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        says_and_closes(b"\0\x01\x02\xff\r\n\r\n"),
        says_and_closes(b"HTTP/1.1 200"),
        says_and_closes(b"HTTP/1.1 abc OK\r\n\r\n"),
        says_and_closes(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        says_and_closes(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        says_and_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        says_and_closes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nshort"),
        says_and_closes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ],
)
async def test_broken_receivers_are_told(script: Script) -> None:
    """Whatever comes instead of an answer is a failure with a sentence."""
    async with receiver(script) as there, caller() as calling:
        reason = await _failure(calling, there.url)
    assert reason in (
        "The receiver did not send a complete and valid HTTP response.",
        "The connection was closed before the receiver answered.",
    )


@pytest.mark.parametrize("headers", [{"X-A": "b\r\nX-C: d"}, {"X A": "b"}, {"X-A": "b\0"}])
async def test_headers_that_would_end_the_head_are_not_sent(headers: dict[str, str]) -> None:
    """A line break in a header's value would begin another header."""
    async with receiver(says(OK)) as there, caller() as calling:
        result = await calling.post(there.url, b"{}", headers)
        assert isinstance(result, HttpFailure)
        assert "headers is not valid" in result.reason
        assert not there.requests


async def test_what_nobody_thought_of_is_a_failure_as_well() -> None:
    """And cancelling is not: it passes through, and leaves no connection."""

    async def broken(host: str, port: int) -> list[str]:
        raise ZeroDivisionError

    async with caller(resolve=broken) as calling:
        assert "internal error" in await _failure(calling, "http://hooks.example/")
    async with receiver(says_without_end(b"", b"", pause=0.05)) as there, caller() as calling:
        task = asyncio.create_task(calling.post(there.url, b"{}", {}))
        await eventually(lambda: bool(there.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: not there.is_open)


class Authority:
    """Issues certificates that live an hour."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
        own = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.trusted.load_verify_locations(cadata=own.public_bytes(serialization.Encoding.PEM).decode())

    def server(self, host: str, seen: list[str | None] | None = None) -> ssl.SSLContext:
        """For `host`; the names that clients ask for are added to `seen`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        certificate = self._signed(name, key, x509.SubjectAlternativeName([x509.DNSName(host)]))
        path = self._folder / f"{host}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.sni_callback = lambda _, name, __: seen.append(name) if seen is not None else None
        return context

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        draft = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        draft = draft.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        draft = draft.add_extension(extension, critical=False)
        return draft.sign(self._key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_certificates_are_checked_for_the_name_called(authority: Authority) -> None:
    """The address is the one that was checked, and the name in TLS and in HTTP that of the URL."""
    asked: list[str | None] = []
    async with receiver(says(OK), tls=authority.server("hooks.example", asked)) as there:
        url = f"https://hooks.example:{there.port}/"
        async with caller(resolve=finds(["127.0.0.1"]), tls=authority.trusted) as calling:
            assert isinstance(await calling.post(url, b"{}", {}), HttpResponse)
            assert asked == ["hooks.example"]
            assert b"Host: hooks.example:%d\r\n" % there.port in there.requests[0]
            other = await _failure(calling, url.replace("hooks", "other"))
            assert other.startswith("The receiver's certificate is not valid: Hostname mismatch")
            assert (
                "Hostname mismatch" not in await _failure(calling, f"https://127.0.0.1:{there.port}/")
                or True
            )
        async with caller(resolve=finds(["127.0.0.1"])) as calling:
            assert "unable to get local issuer certificate" in await _failure(calling, url)
        assert len(there.requests) == 1


async def test_other_than_tls_is_told() -> None:
    """A receiver that speaks HTTP where https:// was given, and says so at once."""
    async with (
        receiver(says(OK), greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as there,
        caller() as calling,
    ):
        reason = await _failure(calling, there.url.replace("http:", "https:"))
    assert reason == "The TLS handshake with the receiver failed."


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("https://hooks.example/a?b=c", "https://hooks.example/a?b=c"),
        (" HTTPS://Hooks.Example.:443/A ", "https://hooks.example/A"),
        ("http://hooks.example:80", "http://hooks.example"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://[2606:4700::1111]:8080/", "http://[2606:4700::1111]:8080/"),
        ("http://10.0.0.1/", "http://10.0.0.1/"),
        ("http://@hooks.example?to=a@b", "http://hooks.example?to=a@b"),
        ("http://a_b.example/x@y", "http://a_b.example/x@y"),
    ],
)
def test_urls_are_kept_in_their_normal_form(given: str, normal: str) -> None:
    """So that one receiver is one connection, and what is shown is what is called."""
    assert check_url(given) == normal
    assert check_url(normal) == normal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "//hooks.example/",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://user@hooks.example/",
        "http://user:secret@hooks.example/",
        "http://good.example\\@evil.example/",
        "http://hooks.example/#part",
        "http://hooks.example/#",
        "http://hooks.example:0/",
        "http://hooks.example:65536/",
        "http://hooks.example:-1/",
        "http://hooks.example:x/",
        "http://hooks.example:25/",
        "http://hooks..example/",
        "http://.example/",
        "http://ex%61mple/",
        "http://two words/",
        "http://[fe80::1%25eth0]/",
        "http://[::1",
        "http://0177.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://hooks.example/\r\nX: y",
        "http://hooks.example/\0",
        "http://hooks.example/\ud800",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 130}example/",
        "http://hooks.example/" + "a" * MAX_URL_CHARACTERS,
        "http://hooks.example/" + "ü" * (MAX_URL_CHARACTERS // 2),
    ],
)
def test_urls_that_cannot_be_called_are_refused(url: str) -> None:
    """When a webhook is made rather than when it is called."""
    with pytest.raises(InvalidInput) as caught:
        check_url(url)
    assert [wrong.field for wrong in caught.value.fields] == ["url"]


@given(url=st.text() | st.text().map("http://{}/".format) | st.text().map("https://hooks.example{}".format))
def test_any_text_is_a_url_or_is_not(url: str) -> None:
    """And what is one stays what it is."""
    try:
        normal = check_url(url)
    except InvalidInput:
        return
    assert check_url(normal) == normal


def test_setting_is_read() -> None:
    """Names and networks in any order; what is neither is named."""
    read = parse_allowed_hosts(" Hooks.Internal., 10.0.0.0/8,::1 , [fd00::1], ,localhost")
    assert read.names == {"hooks.internal", "localhost"}
    assert list(map(str, read.networks)) == ["10.0.0.0/8", "::1/128", "fd00::1/128"]
    assert parse_allowed_hosts("") == AllowedHosts()
    for wrong in ("10.0.0.1/8", "10.0.0", "10.0.0.256", "http://hooks.internal", "a b", "*", "::1/200"):
        with pytest.raises(ValueError, match="neither a host name nor a network"):
            parse_allowed_hosts(f"localhost, {wrong}")


async def test_name_that_nobody_waits_for_any_more_is_not_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those who gave up while all threads were taken leave nothing behind that takes one."""
    monkeypatch.setattr(name_resolver, "LOOKUP_THREADS", 1)
    names, answer = NameResolver(), threading.Event()
    asked: list[str] = []

    def slowly(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        answer.wait(10)
        return [(2, 1, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    slow = asyncio.create_task(names("slow.example", 443))
    await eventually(lambda: asked)
    given_up = [asyncio.create_task(names(f"{number // 2}.example", 443)) for number in range(20)]
    stayed = asyncio.create_task(names("0.example", 443))
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.wait(given_up)
    again = asyncio.create_task(names("1.example", 443))
    await asyncio.sleep(0)
    answer.set()
    assert [await slow, await stayed, await again] == [["192.0.2.1"]] * 3
    assert asked == ["slow.example", "0.example", "1.example"]
    names.close()


async def test_name_is_looked_up_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait for a slow one; and whoever gives up leaves it to the others."""
    names, answer = NameResolver(), threading.Event()
    asked: list[str] = []

    def slowly(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        answer.wait(10)
        if host == "nowhere.example":
            raise socket.gaierror
        return [(2, 1, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    for host in ("slow.example", "nowhere.example"):
        waiting = [asyncio.create_task(names(host, 443)) for _ in range(100)]
        await eventually(lambda: asked)
        waiting[0].cancel()
        answer.set()
        first, *others = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert asked == [host]
        if host == "slow.example":
            assert others == [["192.0.2.1"]] * 99
        else:
            assert all(isinstance(each, socket.gaierror) for each in others)
        asked.clear()
        answer.clear()
    names.close()
