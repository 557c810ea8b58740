"""The file of a `multipart/form-data` body (RFC 7578) as it comes: nothing waits in memory or on disk."""

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from blazechat.errors import BadRequest, InvalidInput, RequestTimeout

PARTS_LIMIT = 20
SLOWEST, PATIENCE = 1024, 60.0
"""Bytes a second that a body has to bring, after as many seconds."""


class Form:
    """A body on its way. `name` is the file's, once `find()` has found it."""

    def __init__(self, request: Request, field: str) -> None:
        self.name = ""
        self._field = field
        self._stream = arriving(request)
        self._parser = _parser_for(request, self)
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        self._parts = 0
        self._in_file = False
        self._found = False
        self._file_ended = False
        self._ended = False
        self._data: list[bytes] = []

    async def find(self) -> None:
        """Read up to where the file begins. Raises InvalidInput, BadRequest."""
        while not self._found:
            if not await self._read():
                raise InvalidInput.of(self._field, f"The form has no file named {self._field}.")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the file. Raises BadRequest where the body is not what it claims to be."""
        while True:
            waiting, self._data = self._data, []
            for chunk in waiting:
                yield chunk
            if self._file_ended:
                break
            await self._read()
        while not self._ended:  # what comes behind it has to be there too
            await self._read()

    async def _read(self) -> bool:
        """Parse some more; False at the end of the form."""
        if self._ended:
            return False
        chunk = await anext(self._stream, b"")
        if not chunk:
            raise BadRequest("The body ends in the middle of the form.")
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise BadRequest("The body is not the form that it claims to be.") from None
        return True

    # What the parser tells

    def on_part_begin(self) -> None:
        self._parts += 1
        self._disposition = b""
        if self._parts > PARTS_LIMIT:
            raise BadRequest(f"The form has more than {PARTS_LIMIT} parts.")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != self._field.encode() or b"filename" not in options:
            return
        if self._found:
            raise InvalidInput.of(self._field, "One file at a time.")
        self._found = self._in_file = True
        # Browsers write quotes and line ends of a name like this (HTML, section 4.10.21.8).
        name = options[b"filename"].decode(errors="replace").replace("%22", '"')
        self.name = name.replace("%0D", "").replace("%0A", "")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._data.append(data[start:end])

    def on_part_end(self) -> None:
        if self._in_file:
            self._in_file, self._file_ended = False, True

    def on_end(self) -> None:
        self._ended = True


def _parser_for(request: Request, form: Form) -> MultipartParser:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise InvalidInput.of("", "Send the file as multipart/form-data.")
    names = (
        "on_part_begin",
        "on_header_field",
        "on_header_value",
        "on_header_end",
        "on_headers_finished",
        "on_part_data",
        "on_part_end",
        "on_end",
    )
    callbacks: Any = {name: getattr(form, name) for name in names}
    try:
        return MultipartParser(options[b"boundary"], callbacks)
    except FormParserError:
        raise BadRequest("The form's boundary is too long.") from None


async def arriving(request: Request) -> AsyncIterator[bytes]:
    """A request's body as it comes. Raises BadRequest if the connection ends before it does.

    Whoever brings less than SLOWEST bytes a second for long is told to come back, with RequestTimeout.
    """
    began, received = time.monotonic(), 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            lasted = time.monotonic() - began
            if lasted > PATIENCE and received < SLOWEST * lasted:
                raise RequestTimeout
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise BadRequest("The connection ended before the body did.") from None
