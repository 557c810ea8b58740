"""Files as responses: ranges and conditions (RFC 9110), and nothing that runs as a page of ours.

What a browser shows in place is what cannot carry scripts; all else it is told to save. Either way the
response is a sandbox without an origin, and its type is not guessed.
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

IN_PLACE = re.compile(
    r"image/(png|jpeg|gif|webp|avif|bmp)|audio/[\w.+\-]+|video/[\w.+\-]+|text/plain|application/pdf"
)
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
UNSAFE = re.compile(r"[^A-Za-z0-9._ ()\-]")
NOTHING = (-1, -1)
"""A range behind the end."""


def answer(request: Request, storage: Storage, file: StoredFile, *, save: bool = False) -> Response:
    """The file, or the range of it that was asked for; 304 to whoever has it, 416 behind its end."""
    tag = f'"{file.tag}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",  # whether it may still be seen is asked each time
        "Content-Disposition": disposition(file, save=save),
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "Cross-Origin-Resource-Policy": "same-site",
        "Referrer-Policy": "no-referrer",
    }
    if _has(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range", "")
    if request.headers.get("if-range", tag) != tag:
        wanted = ""
    found = _range(wanted, file.size)
    if found is NOTHING:
        headers["Content-Range"] = f"bytes */{file.size}"
        return Response(status_code=416, headers=headers)
    start, end = found or (0, file.size)
    if found is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - start)
    headers["Content-Type"] = _type(file)
    status = 200 if found is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_content(storage, file, start, end), status, headers)


def disposition(file: StoredFile, *, save: bool) -> str:
    """`Content-Disposition` for a name in any script (RFC 6266, RFC 8187)."""
    kind = "inline" if IN_PLACE.fullmatch(file.media_type) and not save else "attachment"
    plain = UNSAFE.sub("_", file.name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(file.name, safe='')}"


def _type(file: StoredFile) -> str:
    """Text was found to be UTF-8; what is not shown in place has no type that anything would run."""
    if file.media_type == "text/plain":
        return "text/plain; charset=utf-8"
    return file.media_type if IN_PLACE.fullmatch(file.media_type) else "application/octet-stream"


def _has(condition: str | None, tag: str) -> bool:
    if condition is None:
        return False
    return condition.strip() == "*" or tag in [
        each.strip().removeprefix("W/") for each in condition.split(",")
    ]


def _range(wanted: str, size: int) -> tuple[int, int] | None:
    """The first byte that is wanted and the one behind the last; None for all, NOTHING for none.

    Units that are not bytes and several ranges at once are not understood, and so ignored.
    """
    match = RANGE.fullmatch(wanted.replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else NOTHING
    start, end = int(first), min(int(last) + 1 if last else size, size)
    if last and int(last) < start:
        return None
    return (start, end) if start < size else NOTHING


async def _content(storage: Storage, file: StoredFile, start: int, end: int) -> AsyncIterator[bytes]:
    try:
        async for chunk in storage.stream(file.pieces, start, end):
            yield chunk
    except Error as error:
        log.warning("download cut off", reason=error.detail)
        raise
