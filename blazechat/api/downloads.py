"""Responses with the bytes of a file: ranges and conditional requests (RFC 9110), and protection from XSS.

A user can upload HTML and scripts; none of it may run as a page of this server. Browsers display only types
that cannot contain scripts, and save all others. Each response is a sandbox without an origin (CSP), and
browsers must not guess its type (the middleware adds `X-Content-Type-Options`).
"""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import structlog
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from blazechat.domain.files.files import StoredFile
from blazechat.errors import Error
from blazechat.media.storage import Storage

log = structlog.get_logger("blazechat.http")

INLINE_TYPES = re.compile(
    r"image/(png|jpeg|gif|webp|avif|bmp)|audio/[\w.+\-]+|video/[\w.+\-]+|text/plain|application/pdf"
)
"""Types that browsers display."""
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
UNSAFE_CHARACTERS = re.compile(r"[^A-Za-z0-9._ ()\-]")
UNSATISFIABLE = (-1, -1)
"""A range after the end of the file."""

Span = tuple[int, int]
"""The first byte, and the byte after the last."""


def response(
    request: Request, storage: Storage, file: StoredFile, *, as_attachment: bool = False
) -> Response:
    """Return the file, or the requested range of it.

    The status is 304 if the client has the file already, 416 if the range is after the end of the file.
    With `as_attachment`, browsers save the file whatever its type is.
    """
    tag = f'"{file.etag}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",  # access is checked on every request
        "Content-Disposition": _disposition(file, as_attachment=as_attachment),
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "Cross-Origin-Resource-Policy": "same-site",
        "Referrer-Policy": "no-referrer",
    }
    if _matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    span = _requested_span(request, tag, file.size)
    if span is UNSATISFIABLE:
        headers["Content-Range"] = f"bytes */{file.size}"
        return Response(status_code=416, headers=headers)
    start, end = span or (0, file.size)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - start)
    headers["Content-Type"] = _content_type(file)
    status = 200 if span is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_stream(storage, file, start, end), status, headers)


def _disposition(file: StoredFile, *, as_attachment: bool) -> str:
    """Return `Content-Disposition`, with the file's name in any script (RFC 6266, RFC 8187)."""
    is_inline = INLINE_TYPES.fullmatch(file.media_type) and not as_attachment
    ascii_name = UNSAFE_CHARACTERS.sub("_", file.name)
    return (
        f"{'inline' if is_inline else 'attachment'}; "
        f"filename=\"{ascii_name}\"; filename*=UTF-8''{quote(file.name, safe='')}"
    )


def _content_type(file: StoredFile) -> str:
    """Return the file's type if browsers may display it, else one that nothing executes."""
    if file.media_type == "text/plain":
        return "text/plain; charset=utf-8"  # uploads of this type are checked to be UTF-8
    return file.media_type if INLINE_TYPES.fullmatch(file.media_type) else "application/octet-stream"


def _matches(if_none_match: str | None, tag: str) -> bool:
    if if_none_match is None:
        return False
    tags = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return if_none_match.strip() == "*" or tag in tags


def _requested_span(request: Request, tag: str, size: int) -> Span | None:
    """Return the requested range; None for the whole file.

    Other units than bytes and several ranges in one request are not supported, and so ignored.
    """
    if request.headers.get("if-range", tag) != tag:
        return None
    match = RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else UNSATISFIABLE
    start, end = int(first), min(int(last) + 1 if last else size, size)
    if last and int(last) < start:
        return None
    return (start, end) if start < size else UNSATISFIABLE


async def _stream(storage: Storage, file: StoredFile, start: int, end: int) -> AsyncIterator[bytes]:
    try:
        async for chunk in storage.stream(file.pieces, start, end):
            yield chunk
    except Error as error:
        log.warning("download interrupted", reason=error.detail)
        raise
