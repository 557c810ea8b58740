"""Protects against server-side request forgery: requests go to public addresses and allowed hosts only.

The address is checked where the connection is made, and the connection goes to the checked address. A check
of the URL alone is not enough: a name can resolve to another address a moment later (DNS rebinding), and an
address has more spellings than a URL filter knows. Follows OWASP's Server-Side Request Forgery Prevention
and IANA's registries of special-purpose addresses (RFC 6890).
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import httpcore2
import httpx2

from blazechat.errors import InvalidInput

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Iterable[str]]]
"""Returns the addresses of a host and port. Raises OSError if it has none."""

MAX_URL_CHARACTERS = 2_000
CONNECT_SECONDS = 5.0
"""Timeout for connecting to one address; the next address of the name is tried after it."""
MAX_ADDRESSES = 4
"""Addresses of one name that are tried."""
MAX_RESPONSE_BYTES = 262_144
"""Bytes of one response, including its headers."""
MAX_READ_BYTES = 8_192

MAIL_PORTS = {25, 465, 587}
"""A request body can be crafted so that a mail server reads it as mail. Browsers block these ports too
(Fetch Standard, 2.9)."""
HOST_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.(?!$)|$))+")
NAT64_PREFIX = IPv6Network("64:ff9b::/96")
"""The well-known prefix of RFC 6052: the last 32 bits are the IPv4 address that is reached."""
GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All globally routed IPv6 unicast. Loopback, private, link-local and multicast addresses are outside."""

# A list of our own: `is_global` of `ipaddress` changes with Python's patch releases.
SPECIAL_ADDRESSES = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3
    2001::/23 2001:db8::/32 2002::/16 3fff::/20
    168.63.129.16/32
"""
SPECIAL_NETWORKS = tuple(map(ip_network, SPECIAL_ADDRESSES.split()))
"""Networks that are not public. 2001::/23 includes Teredo, 2002::/16 is 6to4. The last one is in a
public range, but is Azure's channel to the virtual machine's host."""


class AddressNotAllowed(Exception):
    """The request must not go there. The message is for the URL's author: it contains no address."""


class UnknownHost(Exception):
    """The host name has no address. The message is for the URL's author."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Hosts that may be called although their addresses are not public."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def permits(self, host: str, address: str) -> bool:
        """Return True if a request for `host` may go to `address`, in the numeric form of `getaddrinfo`."""
        try:
            parsed = _unmapped(ip_address(address))
        except ValueError:
            return False
        if _normal_name(host) in self.names or any(parsed in network for network in self.networks):
            return True
        return _is_public(parsed)


def parse_allowed_hosts(text: str) -> AllowedHosts:
    """Parse the setting: comma-separated host names and networks (`hooks.internal, 10.0.0.0/8`).

    Raises ValueError with a sentence that quotes the wrong part.
    """
    names, networks = set(), []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            networks.append(ip_network(part.removeprefix("[").removesuffix("]")))
            continue
        except ValueError:
            name = _normal_name(part)
        if "/" in part or not _is_name(name) or name.replace(".", "").isdigit():
            raise ValueError(f"{part!r} is neither a host name nor a network such as 10.0.0.0/8.")
        names.add(name)
    return AllowedHosts(frozenset(names), tuple(networks))


def check_url(url: str) -> str:
    """Return the URL in its normal form (RFC 3986, IDNA 2008). Raises InvalidInput if it cannot be called.

    Its address is not checked here, because it is known only when a connection is made.
    """
    return str(parse_url(url))


def parse_url(url: str) -> httpx2.URL:
    """Parse and check a URL as `check_url()` does. Raises InvalidInput."""
    if len(url) > MAX_URL_CHARACTERS:
        raise InvalidInput.of("url", f"A URL can have at most {MAX_URL_CHARACTERS:,} characters.")
    try:
        given = httpx2.URL(url.strip())
        host = _normal_name(given.raw_host.decode("ascii"))
        parsed = httpx2.URL(str(given.copy_with(host=host))) if host else given
    except (httpx2.InvalidURL, ValueError):
        raise InvalidInput.of("url", "This is not a valid URL.") from None
    if (error := _url_error(parsed, host, url)) is not None:
        raise InvalidInput.of("url", error)
    return parsed


def _url_error(parsed: httpx2.URL, host: str, given: str) -> str | None:
    """Return a sentence about the first error in the URL; None if it can be called."""
    if parsed.scheme not in ("http", "https") or not host:
        return "The URL must start with https:// or http:// and have a host."
    # An IPv6 zone (%) means something on this machine only.
    if not (_is_name(host) or (":" in host and "%" not in host)):
        return "The host of this URL is not a valid host name or address."
    if parsed.userinfo:
        return "The URL must not contain a user name or password."
    if "#" in given:
        return "The URL must not have a fragment (#…): HTTP does not send it."
    if parsed.port is not None and (not 0 < parsed.port < 65_536 or parsed.port in MAIL_PORTS):
        return "The port of this URL is not allowed."
    if len(str(parsed)) > MAX_URL_CHARACTERS:
        return f"A URL can have at most {MAX_URL_CHARACTERS:,} characters when it is percent-encoded."
    return None


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Network backend of the HTTP client. It resolves a name once and tries its permitted addresses."""

    def __init__(self, allowed: AllowedHosts, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (the signature of httpcore2)
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises AddressNotAllowed, UnknownHost, and ConnectError or ConnectTimeout of httpcore2."""
        failure: Exception | None = None
        for address in await self._permitted_addresses(host, port):
            try:
                stream = await self._network.connect_tcp(
                    address, port, min(timeout or CONNECT_SECONDS, CONNECT_SECONDS), None, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _BoundedStream(stream)
        assert failure is not None
        raise failure

    async def _permitted_addresses(self, host: str, port: int) -> list[str]:
        try:
            found = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError):  # UnicodeError for names that DNS cannot contain
            found = []
        if not found:
            raise UnknownHost(f"The host name {host} has no address.")
        permitted = [address for address in found if self._allowed.permits(host, address)]
        if not permitted:
            raise AddressNotAllowed(f"Requests to {host} are not allowed: its address is not public.")
        return permitted[:MAX_ADDRESSES]


class _BoundedStream(httpcore2.AsyncNetworkStream):
    """Limits the bytes of a response, so that endless headers or `100 Continue` responses end."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._remaining_bytes = MAX_RESPONSE_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self._remaining_bytes <= 0:
            raise httpcore2.RemoteProtocolError("The response is too long.")
        received = await self._stream.read(min(max_bytes, MAX_READ_BYTES), timeout)
        self._remaining_bytes -= len(received)
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._remaining_bytes = MAX_RESPONSE_BYTES  # a new request: the bytes of its response count from 0
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.AsyncNetworkStream:
        return _BoundedStream(await self._stream.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address.scope_id is not None or address not in GLOBAL_UNICAST):
        return False
    return not any(address in network for network in SPECIAL_NETWORKS)


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address leads to, if there is one; else the address."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64_PREFIX:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _normal_name(host: str) -> str:
    return host.lower().removesuffix(".")


def _is_name(host: str) -> bool:
    return len(host) <= 253 and HOST_NAME.fullmatch(host) is not None
