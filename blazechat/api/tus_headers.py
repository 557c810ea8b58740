"""Headers of tus 1.0.0: their documentation in OpenAPI, and reading them from a request."""

import base64
import binascii
import re
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from blazechat.domain.files.piece_writer import Checksum
from blazechat.domain.schemas.files import Progress
from blazechat.errors import BadRequest, InvalidInput, WrongProtocol

VERSION = "1.0.0"
EXTENSIONS = (
    "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,concatenation"
)
CHECKSUM_ALGORITHMS = ("sha1", "md5", "sha256", "sha512")
CONTENT_TYPE = "application/offset+octet-stream"
PARTIAL, FINAL = "partial", "final;"
"""The values of `Upload-Concat`; the second one is followed by the URLs of partial uploads."""
UPLOAD_PATH = re.compile(r"/uploads/([0-9]{1,15})/?$")
MAX_BYTES = 2**53 - 1
"""Upper bound of lengths and offsets. The largest file that the server accepts is a setting."""


def _parameter(name: str, *, required: bool = False, **schema: object) -> dict[str, object]:
    return {"name": name, "in": "header", "required": required, "schema": schema}


RESUMABLE = _parameter("Tus-Resumable", required=True, type="string", enum=[VERSION])
OFFSET = _parameter("Upload-Offset", required=True, type="integer", minimum=0, maximum=MAX_BYTES)
LENGTH = _parameter("Upload-Length", type="integer", minimum=0, maximum=MAX_BYTES)
DEFER_LENGTH = _parameter("Upload-Defer-Length", type="string", enum=["1"])
CONCAT = _parameter(
    "Upload-Concat",
    type="string",
    pattern=r"^(partial|final;\S+( \S+)*)$",
    description="`partial`, or `final;` and the URLs of partial uploads, separated by spaces.",
)
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


def is_partial(request: Request) -> bool:
    """True if the new upload is a part of a later one. Raises InvalidInput."""
    return _concat_of(request) == PARTIAL


def partial_ids_of(request: Request) -> list[int] | None:
    """Return the ids of the partial uploads that the new upload consists of; None if it is no final upload.

    Raises InvalidInput. The hosts of their URLs do not matter: a proxy might have changed them.
    """
    concat = _concat_of(request)
    if not concat.startswith(FINAL):
        return None
    if "upload-length" in request.headers or "upload-defer-length" in request.headers:
        raise InvalidInput.of("upload-length", "A final upload has the length of its parts. Send none.")
    ids = []
    for url in concat.removeprefix(FINAL).split():
        match = UPLOAD_PATH.search(urlsplit(url).path)
        if match is None:
            raise InvalidInput.of("upload-concat", "Name the parts by the URLs of their uploads.")
        ids.append(int(match[1]))
    return ids


def concat_value(progress: Progress) -> str | None:
    """Return the `Upload-Concat` of an upload; None if it is neither partial nor final."""
    if progress.part_ids:
        return FINAL + " ".join(f"/api/uploads/{part_id}" for part_id in progress.part_ids)
    return PARTIAL if progress.is_partial else None


def _concat_of(request: Request) -> str:
    value = request.headers.get("upload-concat", "")
    if value and value != PARTIAL and not value.startswith(FINAL):
        raise InvalidInput.of("upload-concat", "This header must be `partial`, or `final;` and URLs.")
    return value


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
