"""Maps failed connections to errors: Unreachable if a retry can help, else NotBlazeChat."""

import asyncio
import errno
import os
import socket
import ssl

from blazechat.client.errors import NotBlazeChat, Unreachable

CLOSED_CONNECTION = (EOFError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""Raised if the server stops before it has answered, also within the TLS handshake."""


def from_failure(url: str, error: BaseException) -> Unreachable | NotBlazeChat:
    """Return the error for a connection that could not be opened. Its cause may be deep in `error`.

    A refused connection, a name without an address and a timeout are Unreachable, since a server that
    starts later ends them. A certificate that is not valid and a server without TLS are NotBlazeChat.
    """
    cause = _root_cause(error)
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, CLOSED_CONNECTION):
        detail = f"No secure connection to {url}: {_tls_reason(cause)}. Check the address."
        return NotBlazeChat(detail)
    return Unreachable(f"{url} cannot be reached: {reason_of(error)}. Check the address.")


def reason_of(error: BaseException) -> str:
    """Return the operating system's words for a failed connection, without asyncio's addresses."""
    cause = _root_cause(error)
    if isinstance(cause, socket.gaierror):
        return f"its name cannot be resolved ({cause.strerror})"
    if isinstance(cause, CLOSED_CONNECTION):
        return "the connection was closed"
    if isinstance(cause, TimeoutError) and cause.errno is None:
        return "no answer in time"
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
        return os.strerror(cause.errno)
    return str(cause).rstrip(".") or type(cause).__name__


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "it does not use TLS; an address that begins with http:// might be right"
    return (error.reason or str(error)).replace("_", " ").lower()


def _root_cause(error: BaseException) -> BaseException:
    while (deeper := error.__cause__ or error.__context__) is not None:
        if isinstance(deeper, asyncio.CancelledError):  # how a timeout ends what it limits
            break
        error = deeper
    return error
