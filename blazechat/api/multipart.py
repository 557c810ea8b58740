"""Streams the file of a `multipart/form-data` body (RFC 7578), without keeping it in memory or on disk."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from blazechat.api import request_body
from blazechat.errors import BadRequest, InvalidInput

MAX_PARTS = 20
PARSER_CALLBACKS = (
    "on_part_begin",
    "on_header_field",
    "on_header_value",
    "on_header_end",
    "on_headers_finished",
    "on_part_data",
    "on_part_end",
    "on_end",
)


class FileForm:
    """A form with one file in the part named `field`: call `find_file()`, then read `file_chunks()`."""

    def __init__(self, request: Request, field: str) -> None:
        self.file_name = ""  # set by find_file()
        self._field = field
        self._body = request_body.stream(request)
        self._parser = self._new_parser(request)
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())  # name, value
        self._disposition = b""  # `Content-Disposition` of the current part
        self._parts = 0
        self._is_in_file = False
        self._is_file_found = False
        self._is_file_complete = False
        self._is_complete = False
        self._chunks: list[bytes] = []  # parsed, and not yielded yet

    async def find_file(self) -> None:
        """Read up to the first byte of the file. Raises InvalidInput, BadRequest, RequestTimeout."""
        while not self._is_file_found:
            if self._is_complete:
                raise InvalidInput.of(self._field, f"The form has no file named {self._field}.")
            await self._read()

    async def file_chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the file. Raises BadRequest if the form is malformed, InvalidInput if it has
        a second file, RequestTimeout."""
        while True:
            chunks, self._chunks = self._chunks, []
            for chunk in chunks:
                yield chunk
            if self._is_file_complete:
                break
            await self._read()
        while not self._is_complete:  # the end of the form must arrive as well
            await self._read()

    async def _read(self) -> None:
        """Parse the next chunk of the body."""
        chunk = await anext(self._body, b"")
        if not chunk:
            raise BadRequest("The body ends in the middle of the form.")
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise BadRequest("The body is not a valid form.") from None

    def _new_parser(self, request: Request) -> MultipartParser:
        content_type, options = parse_options_header(request.headers.get("content-type", ""))
        if content_type != b"multipart/form-data" or not options.get(b"boundary"):
            raise InvalidInput.of("", "Send the file as multipart/form-data.")
        callbacks: Any = {name: getattr(self, name) for name in PARSER_CALLBACKS}
        try:
            return MultipartParser(options[b"boundary"], callbacks)
        except FormParserError:
            raise BadRequest("The form's boundary is too long.") from None

    # Callbacks of the parser

    def on_part_begin(self) -> None:
        self._parts += 1
        self._disposition = b""
        if self._parts > MAX_PARTS:
            raise BadRequest(f"The form has more than {MAX_PARTS} parts.")

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
        if self._is_file_found:
            raise InvalidInput.of(self._field, "Send one file per request.")
        self._is_file_found = self._is_in_file = True
        # Browsers escape quotes and line ends in a file name like this (HTML, section 4.10.21.8).
        name = options[b"filename"].decode(errors="replace").replace("%22", '"')
        self.file_name = name.replace("%0D", "").replace("%0A", "")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_in_file:
            self._chunks.append(data[start:end])

    def on_part_end(self) -> None:
        if self._is_in_file:
            self._is_in_file, self._is_file_complete = False, True

    def on_end(self) -> None:
        self._is_complete = True
