"""The address of a server: from what a person types to the URLs of the HTTP API and the socket."""

import ipaddress
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where `make run` listens."""


class InvalidServerUrl(ValueError):
    """The text is not the address of a server. The message says why."""


def server_url(address: str) -> str:
    """Return the base URL of a server, such as `https://chat.example.com` for the text `chat.example.com/`.

    The default scheme is `http` for loopback addresses and `https` for all others. Raises InvalidServerUrl.
    """
    text = address.strip()
    if "://" not in text:
        text = f"{'http' if _is_loopback(urlsplit(f'//{text}').hostname or '') else 'https'}://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidServerUrl(f"{address!r} is not a valid address: {error}. Correct it.") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidServerUrl(
            f"A server's address begins with http:// or https://, not {parts.scheme}://."
        )
    if not parts.hostname or any(c.isspace() for c in parts.netloc):
        raise InvalidServerUrl(f"{address!r} contains no host name. Write it as in {DEFAULT_URL}.")
    if parts.username is not None or parts.password is not None:
        raise InvalidServerUrl(
            "Remove the user name and password from the address. Log in with them instead."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def socket_url(url: str) -> str:
    """Return the URL of the live connection for a server's base URL."""
    return f"ws{url.removeprefix('http')}/ws"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
