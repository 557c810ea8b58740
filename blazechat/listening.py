"""The listening socket, and the URLs at which other machines reach it."""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104
FIRST_UNPRIVILEGED_PORT = 1024


class ListenError(Exception):
    """The server cannot listen on the address. The message says why and what to do."""


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket bound to an address of this machine. Raises ListenError."""
    family, address = _resolve(host, port)
    # If the protocol is given, asyncio turns off Nagle's algorithm on accepted sockets.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise ListenError(_bind_problem(host, port, error)) from error
        yield listener


def urls(host: str, port: int) -> list[str]:
    """Return the URLs of a server that listens on `host`; for all interfaces, one per address."""
    hosts = [host] if host not in WILDCARDS else _interface_addresses(with_ipv6=host == "::")
    return [_url(each, port) for each in hosts]


def is_reachable_from_outside(host: str) -> bool:
    """Return True if other machines can connect to a server that listens on `host`."""
    _, address = _resolve(host, 0)
    return not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback


def _resolve(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """Return the address family and the socket address of `host`, an IPv4 address if it has one."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(
            f"cannot listen on {host}: this name is not known. --host takes an address or a name of this"
            f" machine: {_own_addresses()}."
        ) from error
    family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, address


def _bind_problem(host: str, port: int, error: OSError) -> str:
    problem = f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}."
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"cannot listen on {host}: it is not an address of this machine. Choose one with --host:"
            f" {_own_addresses()}."
        )
    if error.errno == errno.EADDRINUSE:
        return f"{problem} Choose another port with --port (0 takes a free one)."
    if error.errno in (errno.EACCES, errno.EPERM) and port < FIRST_UNPRIVILEGED_PORT:
        return f"{problem} Choose a port of {FIRST_UNPRIVILEGED_PORT} or more with --port."
    return problem


def _own_addresses() -> str:
    return f"{', '.join(_interface_addresses(with_ipv6=False))}, or 0.0.0.0 for all of them"


def _interface_addresses(*, with_ipv6: bool) -> list[str]:
    """Return the addresses of the interfaces that are up, those of this machine alone last."""
    states = psutil.net_if_stats()
    families = {socket.AF_INET, socket.AF_INET6} if with_ipv6 else {socket.AF_INET}
    found = [
        address.address
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family in families and name in states and states[name].isup
    ]
    kept = [each for each in found if not ipaddress.ip_address(each.partition("%")[0]).is_link_local]
    return sorted(kept, key=lambda each: ipaddress.ip_address(each).is_loopback)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
