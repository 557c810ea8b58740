"""Where requests to URLs that strangers gave may go: to public addresses, and where an operator allows it.

An address is judged where the connection is made, and no other is connected to: what a name resolves to may
change between two looks (DNS rebinding), and an address has more spellings than a filter of URLs knows.
Follows OWASP's advice on server-side request forgery and IANA's registries of special addresses (RFC 6890).
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import httpcore2
import httpx2

from blazechat.errors import InvalidInput

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Iterable[str]]]
"""The addresses of a host, for a port; OSError if there are none."""

URL_LIMIT = 2_000
"""Characters."""
CONNECT_SECONDS = 5.0
"""For one address; there may be another."""
ADDRESSES = 4  # tried of one name
ANSWER_BYTES = 262_144
"""Read of one answer, in whatever form they come."""
READ_BYTES = 8_192
LOOKUPS = 64
"""At once: as many as there are calls, and those of cut off calls beside them are few."""

MAIL_PORTS = {25, 465, 587}
"""A body can be written so that a mail server takes it for mail; browsers block these, too (Fetch, 2.9)."""
NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.(?!$)|$))+")
TRANSLATED = IPv6Network("64:ff9b::/96")
"""RFC 6052: how hosts without IPv4 reach it; the IPv4 address is in the last 32 bits."""
UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is routed globally; loopback, private, link-local and multicast are not in it."""

# Not asked of `ipaddress`, whose idea of "global" changes with Python's patch releases.
SPECIAL_ADDRESSES = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3
    2001::/23 2001:db8::/32 2002::/16 3fff::/20
    168.63.129.16/32
"""
"""Teredo is in 2001::/23, and 2002::/16 is 6to4. The last looks public, and is Azure's way to the host."""
SPECIAL = tuple(map(ip_network, SPECIAL_ADDRESSES.split()))


class AddressRefused(Exception):
    """No request may go there. The text is for whoever gave the URL: it names no address they did not."""


class NameUnknown(Exception):
    """The host's name has no address. The text is for whoever gave the URL."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be called although it is not public."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def permits(self, host: str, address: str) -> bool:
        """Whether a request for `host` may go to `address`, in the numeric form of `getaddrinfo`."""
        try:
            found = _plain(ip_address(address))
        except ValueError:
            return False
        if _name(host) in self.names or any(found in network for network in self.networks):
            return True
        return _is_public(found)


def allowed_hosts(text: str) -> Allowed:
    """The setting: names and networks (CIDR) with commas between them, `hooks.internal, 10.0.0.0/8`.

    Raises ValueError, with a sentence that names the wrong part.
    """
    names, networks = set(), []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            networks.append(ip_network(part.removeprefix("[").removesuffix("]")))
            continue
        except ValueError:
            name = _name(part)
        if "/" in part or not _is_name(name) or name.replace(".", "").isdigit():
            raise ValueError(f"{part!r} is neither a host's name nor a network such as 10.0.0.0/8.")
        names.add(name)
    return Allowed(frozenset(names), tuple(networks))


def check_url(url: str) -> str:
    """`url` in its normal form, if it can be called: RFC 3986, IDNA 2008. Raises InvalidInput.

    Where it leads is not looked at here: that is known only when a connection is made.
    """
    return str(parse_url(url))


def parse_url(url: str) -> httpx2.URL:
    """The same, in its parts."""
    if len(url) > URL_LIMIT:
        raise InvalidInput.of("url", f"A URL has at most {URL_LIMIT:,} characters.")
    try:
        given = httpx2.URL(url.strip())
        host = _name(given.raw_host.decode("ascii"))
        parsed = httpx2.URL(str(given.copy_with(host=host))) if host else given
    except (httpx2.InvalidURL, ValueError):
        raise InvalidInput.of("url", "This is not a URL.") from None
    if (wrong := _wrong_with(parsed, host, url)) is not None:
        raise InvalidInput.of("url", wrong)
    return parsed


def _wrong_with(parsed: httpx2.URL, host: str, given: str) -> str | None:
    if parsed.scheme not in ("http", "https") or not host:
        return "A URL to call starts with https:// or http://, and a host."
    if not (_is_name(host) or (":" in host and "%" not in host)):  # a scope (%) is of this host's own
        return "The host of this URL is not one that could have an address."
    if parsed.userinfo:
        return "A URL to call has no user and password in it."
    if "#" in given:
        return "A URL to call has no fragment (#…): it would never be sent."
    if parsed.port is not None and (not 0 < parsed.port < 65_536 or parsed.port in MAIL_PORTS):
        return "The port of this URL cannot be called."
    if len(str(parsed)) > URL_LIMIT:
        return f"A URL has at most {URL_LIMIT:,} characters, percent-encoded."
    return None


class Names:
    """Looks names up, in threads of its own; one that is being looked up, once.

    A stranger's slow name server must not hold those threads that everything else in the process shares.
    A lookup cannot be cut short: if all who waited for it give up, it keeps its thread, and one that has
    none yet is dropped.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, "webhook-names")
        self._under_way: dict[tuple[str, int], _Lookup] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Raises OSError, UnicodeError."""
        key = (host, port)
        lookup = self._under_way.get(key)
        if lookup is None:
            look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            lookup = self._under_way[key] = _Lookup(self._threads.submit(look))
            lookup.found.add_done_callback(partial(self._end, key))
        lookup.waiting += 1
        try:
            found = await asyncio.shield(lookup.found)
        finally:
            lookup.waiting -= 1
            if not lookup.waiting and lookup.job.cancel():
                del self._under_way[key]
        return [str(address[0]) for *_, address in found]

    def _end(self, key: tuple[str, int], found: asyncio.Future[list[Any]]) -> None:
        if not found.cancelled():
            del self._under_way[key]
            found.exception()  # nobody may be left to be told of it

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Lookup:
    def __init__(self, job: Future[list[Any]]) -> None:
        self.job = job
        self.found = asyncio.wrap_future(job)
        self.waiting = 0


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to permitted addresses only. A name is looked up once, and connected to as it was found."""

    def __init__(self, allowed: Allowed, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109, the core's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises AddressRefused, NameUnknown, or the core's ConnectError or ConnectTimeout."""
        failure: Exception | None = None
        for address in await self._permitted(host, port):
            try:
                stream = await self._network.connect_tcp(
                    address, port, min(timeout or CONNECT_SECONDS, CONNECT_SECONDS), None, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _Bounded(stream)
        assert failure is not None
        raise failure

    async def _permitted(self, host: str, port: int) -> list[str]:
        try:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError):  # the latter for names that cannot be asked for
            found = []
        if not found:
            raise NameUnknown(f"There is no address for the name {host}.")
        permitted = [address for address in found if self._allowed.permits(host, address)]
        if not permitted:
            raise AddressRefused(f"Requests to {host} are not allowed: its address is not a public one.")
        return permitted[:ADDRESSES]


class _Bounded(httpcore2.AsyncNetworkStream):
    """Ends an answer that has no end: header after header, or `100 Continue` after another."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = ANSWER_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self._left <= 0:
            raise httpcore2.RemoteProtocolError("The answer is too long.")
        received = await self._stream.read(min(max_bytes, READ_BYTES), timeout)
        self._left -= len(received)
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._left = ANSWER_BYTES  # what is read from now on answers this
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        return _Bounded(await self._stream.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address.scope_id is not None or address not in UNICAST):
        return False
    return not any(address in network for network in SPECIAL)


def _plain(address: Address) -> Address:
    """The IPv4 address that is reached by an IPv6 one, where there is one."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in TRANSLATED:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _name(host: str) -> str:
    return host.lower().removesuffix(".")


def _is_name(host: str) -> bool:
    return len(host) <= 253 and NAME.fullmatch(host) is not None
