"""Webhook calls reach public addresses only, within limits on time and memory."""

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
    """A server on a real socket that records its requests. `script` answers each complete request."""

    def __init__(self, script: Script, greeting: bytes) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.reached_addresses: list[str] = []  # the local addresses of its connections
        self.port = 0
        self.open_connections = 0
        self._script = script
        self._greeting = greeting

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self.reached_addresses.append(writer.get_extra_info("sockname")[0])
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                writer.write(self._greeting)
                while True:
                    self.requests.append(await _read_request(reader))
                    await self._script(reader, writer)
        finally:
            self.open_connections -= 1
            writer.transport.abort()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head + await reader.readexactly(int(length.partition(b":")[2]))


@asynccontextmanager
async def receiver(
    script: Script, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None, greeting: bytes = b""
) -> AsyncIterator[Receiver]:
    created = Receiver(script, greeting)
    server = await asyncio.start_server(created.handle, host, 0, ssl=tls)
    created.port = server.sockets[0].getsockname()[1]
    try:
        yield created
    finally:
        server.close()
        await eventually(lambda: not created.open_connections)


@asynccontextmanager
async def caller(
    allowed: str = LOOPBACK,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109
    connections: int = 100,
    resolve: Callable[[str, int], Awaitable[list[str]]] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[HttpCaller]:
    created = HttpCaller(
        allowed=parse_allowed_hosts(allowed),
        timeout=timeout,
        connections=connections,
        user_agent="BlazeChat/test",
        resolve=resolve,
        tls=tls,
    )
    try:
        yield created
    finally:
        await created.close()


def responds(answer: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return script


def responds_and_closes(answer: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    return script


def responds_without_end(start: bytes, piece: bytes, pause: float = 0) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


def resolves_to(*answers: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver that returns one answer after another, and the last one from then on."""
    remaining = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return resolve


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


async def _failure_of(http: HttpCaller, url: str) -> str:
    result = await http.post(url, b"{}", {})
    assert isinstance(result, HttpFailure), result
    return result.reason


async def test_response_is_returned() -> None:
    """The request arrives as HTTP/1.1 and uncompressed; the response is returned without its cookies."""
    answer = (
        b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nSet-Cookie: a=b\r\nContent-Length: 6\r\n\r\nl\xc3\xa4ter"
    )
    async with receiver(responds(answer)) as target, caller() as http:
        for _ in range(2):
            result = await http.post(
                f"{target.url}?a=b", b"{}", {"X-Kind": "ü", "host": "evil", "Accept-encoding": "gzip"}
            )
            assert isinstance(result, HttpResponse)
            assert (result.status, result.body) == (503, "läter")
            assert result.headers == {"retry-after": "7", "content-length": "6"}
            assert 0 < result.seconds < 5
    lines = target.requests[1].split(b"\r\n")
    assert lines[0] == b"POST /hook?a=b HTTP/1.1"
    assert lines[-1] == b"{}"
    assert sorted(line.lower() for line in lines[1:-2]) == sorted(
        [
            b"host: 127.0.0.1:%d" % target.port,
            "x-kind: ü".encode(),
            b"user-agent: blazechat/test",
            b"accept: */*",
            b"accept-encoding: identity",
            b"content-length: 2",
        ]
    )


async def test_connections_are_reused() -> None:
    """Sequential requests share a connection; a receiver that closes it makes no request fail."""
    async with receiver(responds(OK)) as target, caller() as http:
        for _ in range(5):
            assert isinstance(await http.post(target.url, b"{}", {}), HttpResponse)
        assert target.connections == 1
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with receiver(responds_and_closes(closing)) as target, caller() as http:
        for _ in range(3):
            assert isinstance(await http.post(target.url, b"{}", {}), HttpResponse)
            await eventually(lambda: not target.open_connections)
        assert target.connections == 3


async def test_byte_limit_is_per_response() -> None:
    """A connection may carry more bytes in its lifetime than one response may have."""
    body = b"x" * MAX_BODY_BYTES
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with receiver(responds(answer)) as target, caller() as http:
        for _ in range(1 + MAX_RESPONSE_BYTES // MAX_BODY_BYTES):
            assert isinstance(await http.post(target.url, b"{}", {}), HttpResponse)
        assert target.connections == 1


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect to any address."""
    async with receiver(responds(OK)) as proxy, receiver(responds(OK)) as target:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with caller() as http:
            assert isinstance(await http.post(target.url, b"{}", {}), HttpResponse)
        assert (proxy.connections, target.connections) == (0, 1)


async def test_redirects_are_not_followed() -> None:
    """A redirect might lead to a private address."""
    async with receiver(responds(OK)) as inside:
        redirect = b"HTTP/1.1 307 Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % inside.url.encode()
        async with receiver(responds(redirect)) as target, caller() as http:
            result = await http.post(target.url, b"{}", {})
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
async def test_no_spelling_reaches_the_loopback_interface(host: str) -> None:
    """A filter that checks the URL instead of the connected address misses each of these."""
    async with receiver(responds(OK), "0.0.0.0") as target:  # noqa: S104
        url = f"http://{host}:{target.port}/"
        async with caller(allowed="10.0.0.0/8") as http:
            assert "not allowed" in await _failure_of(http, url)
            assert target.connections == 0
        async with caller(allowed="127.0.0.0/8, 0.0.0.0, localhost") as http:
            assert isinstance(await http.post(url, b"{}", {}), HttpResponse)
            assert target.connections == 1


@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "ip6-loopback"])
async def test_no_spelling_reaches_the_loopback_interface_by_ipv6(host: str) -> None:
    """The same for IPv6."""
    async with receiver(responds(OK), "::1") as target:
        async with caller("10.0.0.0/8", resolve=resolves_to(["::1"])) as http:
            assert "not allowed" in await _failure_of(http, f"http://{host}:{target.port}/")
            assert target.connections == 0
        async with caller("::1", resolve=resolves_to(["::1"])) as http:
            assert isinstance(await http.post(f"http://{host}:{target.port}/", b"{}", {}), HttpResponse)
        assert b"host: " + f"{host}:{target.port}".encode() in target.requests[0].lower()


SPECIAL_ADDRESSES = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255
198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::7f00:1 ::8.8.8.8 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:8.8.8.8
64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
2001:2::1 2001:10::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254
fe80::1 fe80::1%eth0 2606:4700::1111%eth0 fec0::1 ff02::1
ff0e::1 127.1 0x7f.1 0177.0.0.1 2130706433 localhost
"""
PUBLIC_ADDRESSES = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255
::ffff:8.8.8.8 64:ff9b::808:808 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001::1
"""


@pytest.mark.parametrize("address", SPECIAL_ADDRESSES.split())
async def test_special_address_is_not_allowed(address: str) -> None:
    """Nothing but globally routed unicast, whatever DNS returns; the error does not contain the address."""
    async with caller(allowed="hooks.internal", resolve=resolves_to([address])) as http:
        reason = await _failure_of(http, "http://rebind.example/")
    assert reason == "Requests to rebind.example are not allowed: its address is not public."


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES.split())
def test_public_address_is_permitted(address: str) -> None:
    """The neighbours of the special networks are public."""
    assert AllowedHosts().permits("hooks.example", address)


@given(address=st.ip_addresses())
def test_public_addresses_are_global_in_ipaddress(address: object) -> None:
    """No address is public here and not global in Python's `ipaddress`."""
    parsed = ip_address(str(address))
    if AllowedHosts().permits("hooks.example", str(parsed)):
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        assert parsed.is_global
        assert not parsed.is_multicast


async def test_allowed_hosts_are_called() -> None:
    """An allowed name may resolve to any address; an allowed network holds for all names."""
    async with receiver(responds(OK)) as target:
        url = f"http://Hooks.Internal.:{target.port}/"
        async with caller("hooks.internal", resolve=resolves_to(["127.0.0.1"])) as http:
            assert isinstance(await http.post(url, b"{}", {}), HttpResponse)
            await _failure_of(http, f"http://other.internal:{target.port}/")
            await _failure_of(http, f"http://x.hooks.internal:{target.port}/")
        async with caller("127.0.0.0/8", resolve=resolves_to(["127.0.0.1"])) as http:
            assert isinstance(await http.post(url, b"{}", {}), HttpResponse)


async def test_only_permitted_addresses_of_a_name_are_tried() -> None:
    """A public address does not permit the private address of the same name."""
    async with receiver(responds(OK), "0.0.0.0") as target:  # noqa: S104
        resolve = resolves_to(["10.0.0.1", "127.0.0.3", "127.0.0.2"])
        async with caller("127.0.0.2/32", resolve=resolve) as http:
            assert isinstance(
                await http.post(f"http://two.example:{target.port}/", b"{}", {}), HttpResponse
            )
        assert target.reached_addresses == ["127.0.0.2"]


async def test_second_address_is_tried_when_the_first_refuses() -> None:
    """As browsers do."""
    async with receiver(responds(OK), "127.0.0.2") as target:
        resolve = resolves_to(["127.0.0.9", "127.0.0.2"])
        async with caller(resolve=resolve) as http:
            assert isinstance(
                await http.post(f"http://two.example:{target.port}/", b"{}", {}), HttpResponse
            )


async def test_name_that_changes_its_address_is_checked_again() -> None:
    """DNS rebinding: a name that was public resolves to a private address; no connection is made."""
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with receiver(responds(closing), "0.0.0.0") as target:  # noqa: S104
        url = f"http://rebind.example:{target.port}/"
        resolve = resolves_to(["127.0.0.2"], ["127.0.0.1"])
        async with caller("127.0.0.2/32", resolve=resolve) as http:
            assert isinstance(await http.post(url, b"{}", {}), HttpResponse)
            assert "not allowed" in await _failure_of(http, url)
        assert target.reached_addresses == ["127.0.0.2"]


async def test_reused_connection_stays_on_its_checked_address() -> None:
    """A name that now resolves to a private address does not move an open connection."""
    async with receiver(responds(OK), "0.0.0.0") as target:  # noqa: S104
        resolve = resolves_to(["127.0.0.2"], ["127.0.0.1"])
        async with caller("127.0.0.2/32", resolve=resolve) as http:
            for _ in range(3):
                await http.post(f"http://rebind.example:{target.port}/", b"{}", {})
        assert target.reached_addresses == ["127.0.0.2"]
        assert len(target.requests) == 3


async def _no_name(host: str, port: int) -> list[str]:
    raise OSError(-2, "Name or service not known")


async def test_unknown_names_and_closed_ports_are_reported() -> None:
    """The author of the URL gets a sentence for each."""
    async with caller(resolve=_no_name) as http:
        assert (
            await _failure_of(http, "http://gone.example/") == "The host name gone.example has no address."
        )
    async with receiver(responds(OK)) as target:
        pass
    async with caller() as http:
        assert await _failure_of(http, target.url) == "The receiver refused the connection."
        assert "a..b" not in await _failure_of(http, "http://a..b/")
        assert "https://" in await _failure_of(http, "gopher://127.0.0.1/")


@pytest.mark.parametrize(
    "script",
    [
        responds_without_end(b"", b"", pause=0.05),
        responds_without_end(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a", pause=0.05),
        responds_without_end(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", b"a", pause=0.05),
    ],
    ids=["silence", "slow header", "slow body"],
)
async def test_slow_receiver_times_out(script: Script) -> None:
    """The timeout covers the whole exchange: single bytes do not extend it."""
    async with receiver(script) as target, caller(timeout=0.4) as http:
        result = await http.post(target.url, b"{}", {})
        assert isinstance(result, HttpFailure)
        assert result.reason == "The receiver did not answer within 0.4 seconds."
        assert 0.35 < result.seconds < 3
        await eventually(lambda: not target.open_connections)


async def test_timeout_covers_lookup_and_wait_for_a_connection() -> None:
    """The timeout starts with the call."""

    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with caller(timeout=0.2, resolve=never) as http:
        assert "within 0.2 seconds" in await _failure_of(http, "http://slow.example/")
    silent = responds_without_end(b"", b"", pause=0.05)
    async with receiver(silent) as target, caller(timeout=0.3, connections=1) as http:
        reasons = await asyncio.gather(_failure_of(http, target.url), _failure_of(http, target.url))
        assert all("within 0.3 seconds" in reason for reason in reasons)
        assert target.connections <= 2


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n",
    ],
    ids=["announced", "without an end", "in chunks"],
)
async def test_gigabyte_response_costs_four_kilobytes(start: bytes) -> None:
    """The start of the body is kept, and the connection is closed."""
    sent = 0

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(start)
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with receiver(script) as target, caller() as http:
        result = await http.post(target.url, b"{}", {})
        assert isinstance(result, HttpResponse)
        assert result.body == "x" * MAX_BODY_BYTES
        await eventually(lambda: not target.open_connections)
    assert sent < 20_000_000  # what the sockets' buffers hold


async def test_compressed_responses_are_not_decompressed() -> None:
    """A decompression bomb is kept as the compressed bytes that arrived."""
    bomb = gzip.compress(b"a" * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with receiver(responds(head + bomb)) as target, caller() as http:
        result = await http.post(target.url, b"{}", {})
    assert isinstance(result, HttpResponse)
    assert len(result.body) <= MAX_BODY_BYTES
    assert "aaaa" not in result.body


@pytest.mark.parametrize(
    "script",
    [
        responds_without_end(b"HTTP/1.1 200 OK\r\n", b"X-Header: and another\r\n" * 100),
        responds_without_end(b"HTTP/1.1 200 OK\r\nX-Long: ", b"a" * 1000),
        responds_without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        responds_without_end(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 1000),
        responds_without_end(b"", b"a" * 1000),
    ],
    ids=["headers", "one header", "continue", "chunk extensions", "no line"],
)
async def test_endless_response_heads_fail(script: Script) -> None:
    """Long before the timeout."""
    async with receiver(script) as target, caller(timeout=30) as http:
        result = await http.post(target.url, b"{}", {})
        assert isinstance(result, HttpFailure)
        assert result.reason == "The receiver did not send a complete and valid HTTP response."
        assert result.seconds < 10
        await eventually(lambda: not target.open_connections)


async def test_few_and_short_headers_are_kept() -> None:
    """Of a thousand headers, only the useful ones are kept, cut; the body is created storable."""
    lines = b"".join(b"X-%d: y\r\n" % number for number in range(2000)) + b"Server: " + b"s" * 5000
    answer = b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 3\r\n\r\na\0\xff" % lines
    async with receiver(responds(answer)) as target, caller() as http:
        result = await http.post(target.url, b"{}", {})
    assert isinstance(result, HttpResponse)
    assert result.headers == {"server": "s" * MAX_HEADER_CHARACTERS, "content-length": "3"}
    assert result.body == "a\ufffd\ufffd"


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize(
    "script",
    [
        _reset,
        responds_and_closes(b""),
        responds_and_closes(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        responds_and_closes(b"\0\x01\x02\xff\r\n\r\n"),
        responds_and_closes(b"HTTP/1.1 200"),
        responds_and_closes(b"HTTP/1.1 abc OK\r\n\r\n"),
        responds_and_closes(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        ),
        responds_and_closes(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        responds_and_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        responds_and_closes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nshort"),
        responds_and_closes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ],
)
async def test_invalid_responses_are_reported(script: Script) -> None:
    """Everything that is not an HTTP response is a failure with a sentence."""
    async with receiver(script) as target, caller() as http:
        reason = await _failure_of(http, target.url)
    assert reason in (
        "The receiver did not send a complete and valid HTTP response.",
        "The connection was closed before the receiver answered.",
    )


@pytest.mark.parametrize("headers", [{"X-A": "b\r\nX-C: d"}, {"X A": "b"}, {"X-A": "b\0"}])
async def test_headers_with_line_breaks_are_not_sent(headers: dict[str, str]) -> None:
    """A line break in a header's value would start another header (header injection)."""
    async with receiver(responds(OK)) as target, caller() as http:
        result = await http.post(target.url, b"{}", headers)
        assert isinstance(result, HttpFailure)
        assert "headers is not valid" in result.reason
        assert not target.requests


async def test_unexpected_error_is_a_failure_and_cancellation_is_not() -> None:
    """A cancellation propagates and leaves no connection open."""

    async def broken(host: str, port: int) -> list[str]:
        raise ZeroDivisionError

    async with caller(resolve=broken) as http:
        assert "internal error" in await _failure_of(http, "http://hooks.example/")
    async with receiver(responds_without_end(b"", b"", pause=0.05)) as target, caller() as http:
        task = asyncio.create_task(http.post(target.url, b"{}", {}))
        await eventually(lambda: bool(target.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: not target.open_connections)


class Authority:
    """A certificate authority; its certificates are valid for an hour."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
        own = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.trusted.load_verify_locations(cadata=own.public_bytes(serialization.Encoding.PEM).decode())

    def server(self, host: str, seen: list[str | None] | None = None) -> ssl.SSLContext:
        """Return a TLS context for `host`; the names that clients request (SNI) are added to `seen`."""
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


async def test_certificates_are_checked_against_the_host_name(authority: Authority) -> None:
    """The connection goes to the checked address; TLS and HTTP use the name of the URL."""
    lookups: list[str | None] = []
    async with receiver(responds(OK), tls=authority.server("hooks.example", lookups)) as target:
        url = f"https://hooks.example:{target.port}/"
        async with caller(resolve=resolves_to(["127.0.0.1"]), tls=authority.trusted) as http:
            assert isinstance(await http.post(url, b"{}", {}), HttpResponse)
            assert lookups == ["hooks.example"]
            assert b"Host: hooks.example:%d\r\n" % target.port in target.requests[0]
            other = await _failure_of(http, url.replace("hooks", "other"))
            assert other.startswith("The receiver's certificate is not valid: Hostname mismatch")
            assert (
                "Hostname mismatch" not in await _failure_of(http, f"https://127.0.0.1:{target.port}/")
                or True
            )
        async with caller(resolve=resolves_to(["127.0.0.1"])) as http:
            assert "unable to get local issuer certificate" in await _failure_of(http, url)
        assert len(target.requests) == 1


async def test_receiver_without_tls_is_reported() -> None:
    """A receiver that speaks HTTP on the port of an https:// URL."""
    async with (
        receiver(responds(OK), greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as target,
        caller() as http,
    ):
        reason = await _failure_of(http, target.url.replace("http:", "https:"))
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
def test_urls_are_normalised(given: str, normal: str) -> None:
    """So one receiver has one connection, and the stored URL is the one that is called."""
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
def test_urls_that_cannot_be_called_are_rejected(url: str) -> None:
    """When the webhook is created, before it is called."""
    with pytest.raises(InvalidInput) as caught:
        check_url(url)
    assert [wrong.field for wrong in caught.value.fields] == ["url"]


@given(url=st.text() | st.text().map("http://{}/".format) | st.text().map("https://hooks.example{}".format))
def test_any_text_is_a_url_or_is_rejected(url: str) -> None:
    """A normalised URL is its own normal form."""
    try:
        normal = check_url(url)
    except InvalidInput:
        return
    assert check_url(normal) == normal


def test_allowed_hosts_are_parsed() -> None:
    """Names and networks in any order; the error quotes the invalid part."""
    parsed = parse_allowed_hosts(" Hooks.Internal., 10.0.0.0/8,::1 , [fd00::1], ,localhost")
    assert parsed.names == {"hooks.internal", "localhost"}
    assert list(map(str, parsed.networks)) == ["10.0.0.0/8", "::1/128", "fd00::1/128"]
    assert parse_allowed_hosts("") == AllowedHosts()
    for wrong in ("10.0.0.1/8", "10.0.0", "10.0.0.256", "http://hooks.internal", "a b", "*", "::1/200"):
        with pytest.raises(ValueError, match="neither a host name nor a network"):
            parse_allowed_hosts(f"localhost, {wrong}")


async def test_lookup_of_cancelled_calls_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Calls that are cancelled while all threads are busy take no thread later."""
    monkeypatch.setattr(name_resolver, "LOOKUP_THREADS", 1)
    resolver, answer = NameResolver(), threading.Event()
    lookups: list[str] = []

    def slow_lookup(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        lookups.append(host)
        answer.wait(10)
        return [(2, 1, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)
    slow = asyncio.create_task(resolver("slow.example", 443))
    await eventually(lambda: lookups)
    cancelled = [asyncio.create_task(resolver(f"{number // 2}.example", 443)) for number in range(20)]
    waiting_call = asyncio.create_task(resolver("0.example", 443))
    await asyncio.sleep(0)
    for task in cancelled:
        task.cancel()
    await asyncio.wait(cancelled)
    later_call = asyncio.create_task(resolver("1.example", 443))
    await asyncio.sleep(0)
    answer.set()
    assert [await slow, await waiting_call, await later_call] == [["192.0.2.1"]] * 3
    assert lookups == ["slow.example", "0.example", "1.example"]
    resolver.close()


async def test_concurrent_calls_share_a_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled call does not cancel the lookup of the others."""
    resolver, answer = NameResolver(), threading.Event()
    lookups: list[str] = []

    def slow_lookup(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        lookups.append(host)
        answer.wait(10)
        if host == "nowhere.example":
            raise socket.gaierror
        return [(2, 1, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)
    for host in ("slow.example", "nowhere.example"):
        waiting = [asyncio.create_task(resolver(host, 443)) for _ in range(100)]
        await eventually(lambda: lookups)
        waiting[0].cancel()
        answer.set()
        first, *others = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert lookups == [host]
        if host == "slow.example":
            assert others == [["192.0.2.1"]] * 99
        else:
            assert all(isinstance(each, socket.gaierror) for each in others)
        lookups.clear()
        answer.clear()
    resolver.close()
