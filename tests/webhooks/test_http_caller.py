"""Webhook calls stay within limits on time and memory, whatever the receiver does."""

import asyncio
import gzip
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from blazechat.jobs.http_caller import (
    MAX_BODY_BYTES,
    MAX_HEADER_CHARACTERS,
    HttpFailure,
    HttpResponse,
)
from blazechat.jobs.ssrf_guard import (
    MAX_RESPONSE_BYTES,
)
from tests.harness import eventually
from tests.webhooks.raw_receiver import (
    OK,
    Script,
    caller,
    failure_of,
    receiver,
    resolves_to,
    responds,
    responds_and_closes,
    responds_without_end,
)


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


async def _no_name(host: str, port: int) -> list[str]:
    raise OSError(-2, "Name or service not known")


async def test_unknown_names_and_closed_ports_are_reported() -> None:
    """The author of the URL gets a sentence for each."""
    async with caller(resolve=_no_name) as http:
        assert (
            await failure_of(http, "http://gone.example/") == "The host name gone.example has no address."
        )
    async with receiver(responds(OK)) as target:
        pass
    async with caller() as http:
        assert await failure_of(http, target.url) == "The receiver refused the connection."
        assert "a..b" not in await failure_of(http, "http://a..b/")
        assert "https://" in await failure_of(http, "gopher://127.0.0.1/")


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
        assert "within 0.2 seconds" in await failure_of(http, "http://slow.example/")
    silent = responds_without_end(b"", b"", pause=0.05)
    async with receiver(silent) as target, caller(timeout=0.3, connections=1) as http:
        reasons = await asyncio.gather(failure_of(http, target.url), failure_of(http, target.url))
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
        reason = await failure_of(http, target.url)
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
        assert "internal error" in await failure_of(http, "http://hooks.example/")
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
            other = await failure_of(http, url.replace("hooks", "other"))
            assert other.startswith("The receiver's certificate is not valid: Hostname mismatch")
            assert (
                "Hostname mismatch" not in await failure_of(http, f"https://127.0.0.1:{target.port}/")
                or True
            )
        async with caller(resolve=resolves_to(["127.0.0.1"])) as http:
            assert "unable to get local issuer certificate" in await failure_of(http, url)
        assert len(target.requests) == 1


async def test_receiver_without_tls_is_reported() -> None:
    """A receiver that speaks HTTP on the port of an https:// URL."""
    async with (
        receiver(responds(OK), greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as target,
        caller() as http,
    ):
        reason = await failure_of(http, target.url.replace("http:", "https:"))
    assert reason == "The TLS handshake with the receiver failed."
