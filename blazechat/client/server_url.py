"""The address of a server, as people write it and as programs need it."""

import errno
import ipaddress
import os
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where `make run` listens."""


class InvalidServerUrl(ValueError):
    """This is no address of a server; the text says why."""


def server_url(address: str) -> str:
    """`https://chat.example.com` for what somebody wrote, such as `chat.example.com/`.

    Without a scheme it is `http` on this machine and `https` everywhere else. Raises WrongAddress.
    """
    text = address.strip()
    if "://" not in text:
        text = f"{'http' if _is_loopback(urlsplit(f'//{text}').hostname or '') else 'https'}://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidServerUrl(f"{address!r} is no address: {error}.") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidServerUrl(
            f"A server's address begins with http:// or https://, not {parts.scheme}://."
        )
    if not parts.hostname or any(c.isspace() for c in parts.netloc):
        raise InvalidServerUrl(f"{address!r} names no server; try {DEFAULT_URL}.")
    if parts.username is not None or parts.password is not None:
        raise InvalidServerUrl("A name or password does not belong into the address.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def socket_url(url: str) -> str:
    """Where the live connection of a server goes."""
    return f"ws{url.removeprefix('http')}/ws"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def reason_of(error: OSError) -> str:
    """Why a server cannot be reached, in the system's words; asyncio has addresses there."""
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return str(error) or "no answer in time"
