"""Headers of tus 1.0.0: their documentation in OpenAPI, and reading them from a request."""

import base64
import binascii
import re
from typing import Any

from fastapi import Depends, Request

from blazechat.domain.files.piece_writer import Checksum
from blazechat.errors import BadRequest, InvalidInput, WrongProtocol

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination"
CHECKSUM_ALGORITHMS = ("sha1", "md5", "sha256", "sha512")
CONTENT_TYPE = "application/offset+octet-stream"
MAX_BYTES = 2**53 - 1
"""Upper bound of lengths and offsets. The largest file that the server accepts is a setting."""


def _parameter(name: str, *, required: bool = False, **schema: object) -> dict[str, object]:
    return {"name": name, "in": "header", "required": required, "schema": schema}


RESUMABLE = _parameter("Tus-Resumable", required=True, type="string", enum=[VERSION])
OFFSET = _parameter("Upload-Offset", required=True, type="integer", minimum=0, maximum=MAX_BYTES)
LENGTH = _parameter("Upload-Length", type="integer", minimum=0, maximum=MAX_BYTES)
DEFER_LENGTH = _parameter("Upload-Defer-Length", type="string", enum=["1"])
METADATA = _parameter("Upload-Metadata", type="string", description="Keys, and values in base64.")
CHECKSUM = _parameter(
    "Upload-Checksum",
    type="string",
    pattern=f"^({'|'.join(CHECKSUM_ALGORITHMS)}) [A-Za-z0-9+/]+={{0,2}}$",
    description="An algorithm, and the digest in base64.",
)
BODY: dict[str, Any] = {
    "requestBody": {"content": {CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}


async def _require_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise WrongProtocol


REQUIRES_VERSION = [Depends(_require_version)]
"""The `dependencies` of a route that rejects requests without `Tus-Resumable: 1.0.0`."""


def has_content(request: Request) -> bool:
    """True if the body has bytes of the file."""
    return request.headers.get("content-type") == CONTENT_TYPE


def offset_of(request: Request) -> int:
    """Return `Upload-Offset`. Raises InvalidInput."""
    return _number(request, "upload-offset", is_required=True) or 0


def length_of(request: Request, *, is_required: bool = False) -> int | None:
    """Return `Upload-Length`; None if it is not sent. Raises InvalidInput."""
    return _number(request, "upload-length", is_required=is_required)


def new_upload_length_of(request: Request) -> int | None:
    """Return `Upload-Length`; None if `Upload-Defer-Length` says that it follows. Raises InvalidInput."""
    return length_of(request, is_required="upload-defer-length" not in request.headers)


def file_name_of(request: Request) -> str:
    """Return the `filename` of `Upload-Metadata`, "" if it has none. Raises InvalidInput.

    The header is a list of keys, each with a value in base64, separated by commas.
    """
    for pair in request.headers.get("upload-metadata", "").split(","):
        key, _, value = pair.strip().partition(" ")
        if key in ("filename", "name"):
            return _base64("upload-metadata", value).decode(errors="replace")
    return ""


def checksum_of(request: Request) -> Checksum | None:
    """Return `Upload-Checksum`. Raises BadRequest, InvalidInput."""
    header = request.headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, digest = header.partition(" ")
    if algorithm not in CHECKSUM_ALGORITHMS:
        raise BadRequest(f"Use one of these checksum algorithms: {', '.join(CHECKSUM_ALGORITHMS)}.")
    return Checksum(algorithm, _base64("upload-checksum", digest))


def _number(request: Request, header: str, *, is_required: bool) -> int | None:
    value = request.headers.get(header)
    if value is None and not is_required:
        return None
    if value is None or re.fullmatch("[0-9]{1,16}", value) is None or int(value) > MAX_BYTES:
        raise InvalidInput.of(header, "This header must be a number of bytes.")
    return int(value)


def _base64(header: str, value: str) -> bytes:
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput.of(header, "This header is not valid base64.") from None
