"""Routes of files: upload in one request, the caller's own files, attachments. `tus.py`: resumable
uploads."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from blazechat.api import downloads, problems, responses
from blazechat.api.callers import AnyWriteCallerNoTransaction, ReadCaller
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import Limit, PathId, QueryId
from blazechat.api.multipart import FileForm
from blazechat.api.openapi import operation_id
from blazechat.domain.auth import access
from blazechat.domain.files import files
from blazechat.domain.schemas.files import Part, Upload
from blazechat.errors import (
    MediaInUse,
    NotFound,
    QuotaExceeded,
    StorageAway,
    StorageFull,
    TypeNotAllowed,
    UnreadableFile,
    UploadUnfinished,
)

router = APIRouter(prefix="/api", tags=["Files"], generate_unique_id_function=operation_id)

AsAttachment = Annotated[
    bool, Query(alias="save", description="Makes browsers save the file, whatever its type is.")
]
BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
ANY_TYPE = {"application/octet-stream": BYTES, "*/*": BYTES}
"""Any media type. Some generators of clients need one that they know."""
DOWNLOAD_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": ANY_TYPE},
    206: {"description": "The requested range", "content": ANY_TYPE},
    304: {"description": "Not modified"},
    416: {"description": "The range is after the end of the file"},
}
FILE_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


@router.post(
    "/media",
    summary="Upload a file",
    status_code=201,
    response_model=Upload,
    responses=problems.documented(
        *problems.CALLER_ERRORS, QuotaExceeded, TypeNotAllowed, UnreadableFile, StorageFull, StorageAway
    ),
    openapi_extra=FILE_FORM,
)
async def upload_file(
    request: Request, services: AppServices, caller: AnyWriteCallerNoTransaction
) -> Response:
    """Send `multipart/form-data` with one file in the part `file`. Attach the file to a message by its
    `id`; without a message it is deleted after a day. For large files, use `POST /api/uploads`."""
    form = FileForm(request, "file")
    await form.find_file()
    file = await services.uploads.upload_whole(caller, form.file_name, form.file_chunks())
    return responses.json(file, 201, location=f"/api/media/{file.id}")


@router.get(
    "/media",
    summary="List your files",
    response_model=list[Upload],
    responses=problems.documented(*problems.CALLER_ERRORS),
)
async def list_files(
    request: Request,
    session: Transaction,
    caller: ReadCaller,
    limit: Limit = 50,
    before: QueryId | None = None,
) -> Response:
    """Newest first, including unfinished uploads."""
    found = await files.list_uploads(session, caller, limit=limit + 1, before=before)
    return responses.keyset_page(request, found, limit, cursor="before")


@router.get(
    "/media/{media_id}",
    summary="Get one of your files",
    response_model=Upload,
    responses=problems.documented(*problems.CALLER_ERRORS, NotFound),
)
async def get_file(session: Transaction, caller: ReadCaller, media_id: PathId) -> Response:
    """Returns its name, type and size, and whether its upload is complete."""
    return responses.json(await files.show_upload(session, caller, media_id))


@router.delete(
    "/media/{media_id}",
    summary="Delete one of your files",
    status_code=204,
    responses=problems.documented(*problems.CALLER_ERRORS, NotFound, MediaInUse),
)
async def delete_file(
    services: AppServices, caller: AnyWriteCallerNoTransaction, media_id: PathId
) -> Response:
    """No message may have the file. An unfinished upload is cancelled."""
    await services.uploads.delete(caller, media_id)
    return responses.no_content()


@router.get(
    "/media/{media_id}/{part}",
    summary="Download one of your files",
    response_class=Response,
    responses=DOWNLOAD_RESPONSES
    | problems.documented(*problems.CALLER_ERRORS, NotFound, UploadUnfinished, StorageAway),
)
@router.head("/media/{media_id}/{part}", include_in_schema=False)
async def download_file(
    request: Request,
    services: AppServices,
    session: Transaction,
    caller: ReadCaller,
    media_id: PathId,
    part: Part,
    as_attachment: AsAttachment = False,
) -> Response:
    """Returns the `content`, or the `small` or `large` thumbnail of an image. Supports ranges and
    conditional requests."""
    file = await files.open_own(session, caller, media_id, part)
    return downloads.response(request, services.storage, file, as_attachment=as_attachment)


@router.get(
    "/chats/{chat_id}/media/{media_id}/{part}",
    summary="Download an attachment",
    response_class=Response,
    responses=DOWNLOAD_RESPONSES | problems.documented(*problems.CHAT_ERRORS, StorageAway),
)
@router.head("/chats/{chat_id}/media/{media_id}/{part}", include_in_schema=False)
async def download_attachment(
    request: Request,
    services: AppServices,
    session: Transaction,
    caller: ReadCaller,
    chat_id: PathId,
    media_id: PathId,
    part: Part,
    as_attachment: AsAttachment = False,
) -> Response:
    """The attachment must be of a message that the caller can see. Supports ranges and conditional
    requests."""
    membership = await access.chat_for(session, caller.user_id, chat_id)
    file = await files.open_attached(session, membership, media_id, part)
    return downloads.response(request, services.storage, file, as_attachment=as_attachment)
