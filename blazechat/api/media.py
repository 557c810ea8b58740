"""Files: uploading them in one request, one's own, and those of chats. `tus.py` has resumable uploads."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from blazechat.api import downloads, problems, responses
from blazechat.api.dependencies import AllServices, AnyId, Id, KnownWriter, Limit, ReadCaller, Transaction
from blazechat.api.multipart import Form
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

router = APIRouter(prefix="/api", tags=["Files"])

Save = Annotated[bool, Query(description="tell browsers to save it, whatever it is")]
BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"*/*": {}}},
    206: {"description": "The range that was asked for", "content": {"*/*": {}}},
    304: {"description": "As it was"},
    416: {"description": "The range is behind the end"},
}


@router.post(
    "/media",
    summary="Upload a file",
    status_code=201,
    response_model=Upload,
    responses=problems.documented(
        *problems.SIGNED_IN, QuotaExceeded, TypeNotAllowed, UnreadableFile, StorageFull, StorageAway
    ),
    openapi_extra={
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
    },
)
async def upload(request: Request, services: AllServices, caller: KnownWriter) -> Response:
    """As `multipart/form-data`, with one file named `file`. Attach it to a message by its `id`; it
    disappears after a day if no message has it. Large files are better off with `POST /api/uploads`."""
    form = Form(request, "file")
    await form.find()
    made = await services.uploads.take(caller, form.name, form.chunks())
    return responses.json(made, 201, location=f"/api/media/{made.id}")


@router.get(
    "/media",
    summary="List one's files",
    response_model=list[Upload],
    responses=problems.documented(*problems.SIGNED_IN),
)
async def list_media(
    request: Request,
    session: Transaction,
    caller: ReadCaller,
    limit: Limit = 50,
    before: AnyId | None = None,
) -> Response:
    """The newest first, uploads under way among them."""
    listed = await files.listed(session, caller, limit=limit + 1, before=before)
    found, more = responses.cut(listed, limit)
    link = responses.link(request, next={"before": found[-1].id} if more else None)
    return responses.json(found, link=link)


@router.get(
    "/media/{media_id}",
    summary="Show a file of one's own",
    response_model=Upload,
    responses=problems.documented(*problems.SIGNED_IN, NotFound),
)
async def show_media(session: Transaction, caller: ReadCaller, media_id: Id) -> Response:
    """What it is, and whether all of it has arrived."""
    return responses.json(await files.shown(session, caller, media_id))


@router.delete(
    "/media/{media_id}",
    summary="Delete a file of one's own",
    status_code=204,
    responses=problems.documented(*problems.SIGNED_IN, NotFound, MediaInUse),
)
async def delete_media(services: AllServices, caller: KnownWriter, media_id: Id) -> Response:
    """One that no message has; an upload under way is given up."""
    await services.uploads.discard(caller, media_id)
    return responses.nothing()


@router.get(
    "/media/{media_id}/{part}",
    summary="Download a file of one's own",
    response_class=Response,
    responses=BYTES | problems.documented(*problems.SIGNED_IN, NotFound, UploadUnfinished, StorageAway),
)
@router.head("/media/{media_id}/{part}", include_in_schema=False)
async def download_own(
    request: Request,
    services: AllServices,
    session: Transaction,
    caller: ReadCaller,
    media_id: Id,
    part: Part,
    save: Save = False,
) -> Response:
    """Its `content`, or the `small` or `large` thumbnail of an image. With ranges and conditions."""
    file = await files.open_own(session, caller, media_id, part)
    return downloads.answer(request, services.storage, file, save=save)


@router.get(
    "/chats/{chat_id}/media/{media_id}/{part}",
    summary="Download an attachment",
    response_class=Response,
    responses=BYTES | problems.documented(*problems.IN_CHAT, StorageAway),
)
@router.head("/chats/{chat_id}/media/{media_id}/{part}", include_in_schema=False)
async def download_attachment(
    request: Request,
    services: AllServices,
    session: Transaction,
    caller: ReadCaller,
    chat_id: Id,
    media_id: Id,
    part: Part,
    save: Save = False,
) -> Response:
    """Of a message that the caller may see. With ranges and conditions."""
    membership = await access.chat_for(session, caller.user_id, chat_id)
    file = await files.open_attached(session, membership, media_id, part)
    return downloads.answer(request, services.storage, file, save=save)
