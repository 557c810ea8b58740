"""Resumable uploads: tus 1.0.0 (https://tus.io/protocols/resumable-upload), with its extensions creation,
creation-with-upload, creation-defer-length, expiration, checksum, termination and concatenation.

An upload's id in its URL is the id of the file that it becomes. The middleware adds the headers that tus
requires in every response, error responses included.
"""

import base64
from collections.abc import Mapping
from email.utils import format_datetime

from fastapi import APIRouter, Request, Response

from blazechat.api import problems, request_body, tus_headers
from blazechat.api.callers import AnyWriteCallerNoTransaction
from blazechat.api.dependencies import AppServices
from blazechat.api.fields import PathId
from blazechat.api.openapi import operation_id
from blazechat.domain.auth.access import Caller
from blazechat.domain.schemas.files import Progress
from blazechat.errors import (
    ChecksumMismatch,
    Forbidden,
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
    UploadUnfinished,
    WrongProtocol,
)

router = APIRouter(prefix="/api/uploads", tags=["Files"], generate_unique_id_function=operation_id)

UPLOAD_ERRORS = (
    WrongProtocol,
    UnsupportedBody,
    QuotaExceeded,
    TypeNotAllowed,
    UnreadableFile,
    ChecksumMismatch,
    StorageFull,
    StorageAway,
)


@router.options("/{media_id}", include_in_schema=False)
@router.options(
    "", summary="Get the supported tus features", status_code=204, responses=problems.documented()
)
async def get_upload_features(services: AppServices) -> Response:
    """Returns the tus version, extensions, checksum algorithms and maximum size in headers."""
    headers = {
        "Tus-Extension": tus_headers.EXTENSIONS,
        "Tus-Max-Size": str(services.uploads.limits.max_file_bytes),
        "Tus-Checksum-Algorithm": ",".join(tus_headers.CHECKSUM_ALGORITHMS),
    }
    return _response(204, headers=headers)


@router.post(
    "",
    summary="Create a resumable upload",
    status_code=201,
    dependencies=tus_headers.REQUIRES_VERSION,
    responses=problems.documented(*problems.CALLER_ERRORS, NotFound, UploadUnfinished, *UPLOAD_ERRORS),
    openapi_extra=tus_headers.BODY
    | {
        "parameters": [
            tus_headers.RESUMABLE,
            tus_headers.LENGTH,
            tus_headers.DEFER_LENGTH,
            tus_headers.METADATA,
            tus_headers.CHECKSUM,
            tus_headers.CONCAT,
        ]
    },
)
async def create_upload(
    request: Request, services: AppServices, caller: AnyWriteCallerNoTransaction
) -> Response:
    """Send `Upload-Length`, or `Upload-Defer-Length: 1`, and the `filename` in `Upload-Metadata`. The body
    may have the first bytes of the file. `Location` is the URL of the upload. With `Upload-Concat: final;…`
    the file consists of complete partial uploads, which end with that; send neither a length nor a body."""
    partial_ids = tus_headers.partial_ids_of(request)
    if partial_ids is not None:
        return await _concatenate(request, services, caller, partial_ids)
    size = tus_headers.new_upload_length_of(request)
    upload = await services.uploads.create(
        caller, tus_headers.file_name_of(request), size, is_partial=tus_headers.is_partial(request)
    )
    progress = Progress(0, size, upload.expires_at)
    if size == 0 or tus_headers.has_content(request):
        checksum = tus_headers.checksum_of(request)
        chunks = request_body.stream(request)
        progress = await services.uploads.append(caller, upload.id, 0, chunks, checksum)
    return _response(201, progress, {"Location": f"/api/uploads/{upload.id}"})


async def _concatenate(
    request: Request, services: AppServices, caller: Caller, partial_ids: list[int]
) -> Response:
    if tus_headers.has_content(request):
        raise InvalidInput.of("", "A final upload takes no bytes: it has those of its parts.")
    name = tus_headers.file_name_of(request)
    media_id, progress = await services.uploads.concatenate(caller, name, partial_ids)
    return _response(201, progress, {"Location": f"/api/uploads/{media_id}"})


@router.head(
    "/{media_id}",
    summary="Get the offset of an upload",
    dependencies=tus_headers.REQUIRES_VERSION,
    responses=problems.documented(*problems.CALLER_ERRORS, NotFound, *UPLOAD_ERRORS),
    openapi_extra={"parameters": [tus_headers.RESUMABLE]},
)
async def get_upload_offset(
    services: AppServices, caller: AnyWriteCallerNoTransaction, media_id: PathId
) -> Response:
    """Resume the upload at `Upload-Offset`. The server ends another request that is still sending bytes of
    it."""
    progress = await services.uploads.progress(caller, media_id)
    name = base64.b64encode(progress.name.encode()).decode()
    headers = {"Cache-Control": "no-store", "Upload-Metadata": f"filename {name}"}
    concat = tus_headers.concat_value(progress)
    if concat is not None:
        headers["Upload-Concat"] = concat
    if progress.size is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(progress.size)
    return _response(200, progress, headers)


@router.patch(
    "/{media_id}",
    summary="Resume an upload",
    status_code=204,
    dependencies=tus_headers.REQUIRES_VERSION,
    responses=problems.documented(
        *problems.CALLER_ERRORS, Forbidden, NotFound, OffsetConflict, *UPLOAD_ERRORS
    ),
    openapi_extra={
        "requestBody": tus_headers.BODY["requestBody"] | {"required": True},
        "parameters": [
            tus_headers.RESUMABLE,
            tus_headers.OFFSET,
            tus_headers.LENGTH,
            tus_headers.CHECKSUM,
        ],
    },
)
async def resume_upload(
    request: Request, services: AppServices, caller: AnyWriteCallerNoTransaction, media_id: PathId
) -> Response:
    """Send the bytes from `Upload-Offset` on. If the connection breaks, the server keeps the bytes that
    have arrived, unless there is an `Upload-Checksum`. The response to the last byte is sent after the file
    has been checked and is ready."""
    if not tus_headers.has_content(request):
        raise UnsupportedBody
    offset, size = tus_headers.offset_of(request), tus_headers.length_of(request)
    checksum = tus_headers.checksum_of(request)
    if size is not None:
        await services.uploads.declare_size(caller, media_id, size)
    chunks = request_body.stream(request)
    return _response(204, await services.uploads.append(caller, media_id, offset, chunks, checksum))


@router.post("/{media_id}", include_in_schema=False, dependencies=tus_headers.REQUIRES_VERSION)
async def override_method(
    request: Request, services: AppServices, caller: AnyWriteCallerNoTransaction, media_id: PathId
) -> Response:
    """`PATCH` and `DELETE` with the header `X-HTTP-Method-Override`, for clients that cannot send these."""
    method = request.headers.get("x-http-method-override")
    if method == "PATCH":
        return await resume_upload(request, services, caller, media_id)
    if method == "DELETE":
        return await cancel_upload(services, caller, media_id)
    response = problems.response_of(MethodNotAllowed(), request.scope["request_id"])
    response.headers["Allow"] = "HEAD, PATCH, DELETE, OPTIONS"
    return response


@router.delete(
    "/{media_id}",
    summary="Cancel an upload",
    status_code=204,
    dependencies=tus_headers.REQUIRES_VERSION,
    responses=problems.documented(*problems.CALLER_ERRORS, NotFound, WrongProtocol, MediaInUse),
    openapi_extra={"parameters": [tus_headers.RESUMABLE]},
)
async def cancel_upload(
    services: AppServices, caller: AnyWriteCallerNoTransaction, media_id: PathId
) -> Response:
    """Deletes the bytes that have arrived; also a finished file, if no message has it."""
    await services.uploads.delete(caller, media_id)
    return _response(204)


def _response(
    status: int, progress: Progress | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    headers = dict(headers or {})
    if progress is not None:
        headers["Upload-Offset"] = str(progress.received)
        is_unfinished = progress.is_partial or not progress.is_complete
        if is_unfinished and progress.expires_at is not None:
            headers["Upload-Expires"] = format_datetime(progress.expires_at, usegmt=True)
    return Response(status_code=status, headers=headers)
