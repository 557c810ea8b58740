"""Resumable uploads: tus 1.0.0 (https://tus.io/protocols/resumable-upload), with its extensions creation,
creation-with-upload, creation-defer-length, expiration, checksum and termination.

The id in an upload's URL is the id of the file that it becomes. What every answer has to carry, refusals
too, the front door adds.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from email.utils import format_datetime
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from blazechat.api import problems
from blazechat.api.dependencies import AllServices, Id, KnownWriter
from blazechat.api.middleware import TUS_VERSION as VERSION
from blazechat.api.multipart import arriving
from blazechat.domain.files.piece_writer import Checksum
from blazechat.domain.schemas.files import Progress
from blazechat.errors import (
    BadRequest,
    ChecksumMismatch,
    InvalidInput,
    MediaInUse,
    MethodNotAllowed,
    NotFound,
    OffsetConflict,
    QuotaExceeded,
    StorageAway,
    StorageFull,
    TypeNotAllowed,
    UnreadableFile,
    UnsupportedBody,
    WrongProtocol,
)

router = APIRouter(prefix="/api/uploads", tags=["Files"])

EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination"
ALGORITHMS = ("sha1", "md5", "sha256", "sha512")
BODY = "application/offset+octet-stream"
LARGEST = 2**53 - 1
BINARY: dict[str, Any] = {
    "requestBody": {"content": {BODY: {"schema": {"type": "string", "format": "binary"}}}}
}


def _header(name: str, *, required: bool = False, **schema: object) -> dict[str, object]:
    return {"name": name, "in": "header", "required": required, "schema": schema}


RESUMABLE = _header("Tus-Resumable", required=True, type="string", enum=[VERSION])
OFFSET = _header("Upload-Offset", required=True, type="integer", minimum=0, maximum=LARGEST)
LENGTH = _header("Upload-Length", type="integer", minimum=0, maximum=LARGEST)
DEFER = _header("Upload-Defer-Length", type="string", enum=["1"])
METADATA = _header("Upload-Metadata", type="string", description="keys and values in base64")
CHECKSUM = _header(
    "Upload-Checksum",
    type="string",
    pattern=f"^({'|'.join(ALGORITHMS)}) [A-Za-z0-9+/]+={{0,2}}$",
    description="an algorithm, and the digest in base64",
)
REFUSALS = (
    WrongProtocol,
    UnsupportedBody,
    QuotaExceeded,
    TypeNotAllowed,
    UnreadableFile,
    ChecksumMismatch,
    StorageFull,
    StorageAway,
)


async def _speaks_tus(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise WrongProtocol


Speaking = [Depends(_speaks_tus)]


@router.options("/{media_id}", include_in_schema=False)
@router.options("", summary="What is understood", status_code=204, responses=problems.documented())
async def options(services: AllServices) -> Response:
    """The version, extensions and limits of tus here."""
    told = {
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(services.uploads.limits.file),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return _answer(204, None, told)


@router.post(
    "",
    summary="Begin a resumable upload",
    status_code=201,
    dependencies=Speaking,
    responses=problems.documented(*problems.SIGNED_IN, *REFUSALS),
    openapi_extra=BINARY | {"parameters": [RESUMABLE, LENGTH, DEFER, METADATA, CHECKSUM]},
)
async def create(request: Request, services: AllServices, caller: KnownWriter) -> Response:
    """`Upload-Length`, or `Upload-Defer-Length: 1`, and in `Upload-Metadata` the `filename`. `Location` is
    the upload's URL. The first bytes may come along."""
    size = _number(request, "upload-length", needed="upload-defer-length" not in request.headers)
    made = await services.uploads.begin(caller, _file_name(request), size)
    progress = Progress(0, size, made.expires_at)
    if size == 0 or request.headers.get("content-type") == BODY:
        checksum = _checksum(request)
        progress = await services.uploads.receive(caller, made.id, 0, arriving(request), checksum)
    return _answer(201, progress, {"Location": f"/api/uploads/{made.id}"})


@router.head(
    "/{media_id}",
    summary="How far an upload is",
    dependencies=Speaking,
    responses=problems.documented(*problems.SIGNED_IN, NotFound, *REFUSALS),
    openapi_extra={"parameters": [RESUMABLE]},
)
async def progress_of(services: AllServices, caller: KnownWriter, media_id: Id) -> Response:
    """`Upload-Offset` is where to go on. A request that still brings bytes of it is ended."""
    progress = await services.uploads.progress(caller, media_id)
    name = base64.b64encode(progress.name.encode()).decode()
    told = {"Cache-Control": "no-store", "Upload-Metadata": f"filename {name}"}
    if progress.size is None:
        told["Upload-Defer-Length"] = "1"
    else:
        told["Upload-Length"] = str(progress.size)
    return _answer(200, progress, told)


@router.patch(
    "/{media_id}",
    summary="Go on with an upload",
    status_code=204,
    dependencies=Speaking,
    responses=problems.documented(*problems.SIGNED_IN, NotFound, OffsetConflict, *REFUSALS),
    openapi_extra={
        "requestBody": BINARY["requestBody"] | {"required": True},
        "parameters": [RESUMABLE, OFFSET, LENGTH, CHECKSUM],
    },
)
async def go_on(request: Request, services: AllServices, caller: KnownWriter, media_id: Id) -> Response:
    """From `Upload-Offset` on. What arrives counts even if the connection breaks, unless there is an
    `Upload-Checksum`. With the last byte the file is looked at, and ready when this is answered."""
    if request.headers.get("content-type") != BODY:
        raise UnsupportedBody
    offset = _number(request, "upload-offset", needed=True) or 0
    size, checksum = _number(request, "upload-length", needed=False), _checksum(request)
    if size is not None:
        await services.uploads.announce(caller, media_id, size)
    progress = await services.uploads.receive(caller, media_id, offset, arriving(request), checksum)
    return _answer(204, progress)


@router.post("/{media_id}", include_in_schema=False, dependencies=Speaking)
async def overridden(
    request: Request, services: AllServices, caller: KnownWriter, media_id: Id
) -> Response:
    """`PATCH` and `DELETE` of those who cannot send these, by the header `X-HTTP-Method-Override`."""
    method = request.headers.get("x-http-method-override")
    if method == "PATCH":
        return await go_on(request, services, caller, media_id)
    if method == "DELETE":
        return await terminate(services, caller, media_id)
    refusal = problems.answer(MethodNotAllowed(), request.scope["request_id"])
    refusal.headers["Allow"] = "HEAD, PATCH, DELETE, OPTIONS"
    return refusal


@router.delete(
    "/{media_id}",
    summary="Give an upload up",
    status_code=204,
    dependencies=Speaking,
    responses=problems.documented(*problems.SIGNED_IN, NotFound, WrongProtocol, MediaInUse),
    openapi_extra={"parameters": [RESUMABLE]},
)
async def terminate(services: AllServices, caller: KnownWriter, media_id: Id) -> Response:
    """What had arrived is gone; so is a finished file, if no message has it."""
    await services.uploads.discard(caller, media_id)
    return _answer(204)


def _answer(
    status: int, progress: Progress | None = None, told: Mapping[str, str] | None = None
) -> Response:
    headers = dict(told or {})
    if progress is not None:
        headers["Upload-Offset"] = str(progress.received)
        if not progress.complete and progress.expires_at is not None:
            headers["Upload-Expires"] = format_datetime(progress.expires_at, usegmt=True)
    return Response(status_code=status, headers=headers)


def _number(request: Request, header: str, *, needed: bool) -> int | None:
    given = request.headers.get(header)
    if given is None and not needed:
        return None
    if given is None or re.fullmatch("[0-9]{1,16}", given) is None or int(given) > LARGEST:
        raise InvalidInput.of(header, "This header is a number of bytes.")
    return int(given)


def _file_name(request: Request) -> str:
    """From `Upload-Metadata`: pairs of a key and a value in base64, separated by commas."""
    for pair in request.headers.get("upload-metadata", "").split(","):
        key, _, value = pair.strip().partition(" ")
        if key in ("filename", "name"):
            return _base64("upload-metadata", value).decode(errors="replace")
    return ""


def _checksum(request: Request) -> Checksum | None:
    given = request.headers.get("upload-checksum")
    if given is None:
        return None
    algorithm, _, digest = given.partition(" ")
    if algorithm not in ALGORITHMS:
        raise BadRequest(f"Checksums are of {', '.join(ALGORITHMS)}.")
    return Checksum(algorithm, _base64("upload-checksum", digest))


def _base64(header: str, value: str) -> bytes:
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput.of(header, "This is not base64.") from None
