"""Routes of a chat's messages: send, read, edit, delete, react, pin; and who has read them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.callers import ReadCaller, ReadClaims, WriteCaller, WriteClaims
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import MAX_ID, AttachmentIds, ClientId, Limit, MessageContent, PathId, QueryId
from blazechat.api.message_body import MessageBody
from blazechat.api.openapi import operation_id
from blazechat.domain.messaging import messages, reactions, read_cursors
from blazechat.domain.messaging.messages import PageRequest
from blazechat.domain.messaging.page_cache import CachedPage
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.messages import Message, ReadCursor, ReadStatus
from blazechat.domain.validation import MAX_EMOJI_CHARACTERS
from blazechat.errors import ClientIdConflict, MessageAlreadyDeleted, TooManyPins, TooManyReactions

router = APIRouter(
    prefix="/api/chats/{chat_id}/messages", tags=["Messages"], generate_unique_id_function=operation_id
)

DEFAULT_LIMIT = 50

Emoji = Annotated[str, Path(min_length=1, max_length=MAX_EMOJI_CHARACTERS, examples=["👍"])]
NonNegative = Annotated[int, Query(ge=0, le=MAX_ID)]


class NewMessage(MessageBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"content": "Hello!", "client_id": "c1"}]})

    content: MessageContent = ""
    client_id: ClientId | None = None
    reply_to: int | None = Field(None, ge=1, le=MAX_ID, description="The id of a message of this chat.")
    attachments: AttachmentIds = Field([], description="Ids of files that the caller has uploaded.")


class Edit(BaseModel):
    content: MessageContent


class Reading(BaseModel):
    up_to: int | None = Field(
        None, ge=0, le=MAX_ID, description="The id of the last message read; by default the newest."
    )


@router.get(
    "",
    summary="List messages",
    response_model=list[Message],
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def list_messages(
    request: Request,
    services: AppServices,
    claims: ReadClaims,
    chat_id: PathId,
    limit: Limit = DEFAULT_LIMIT,
    before: QueryId | None = None,
    after: NonNegative | None = None,
    around: QueryId | None = None,
    skip: NonNegative | None = None,
) -> Response:
    """Newest first. Give at most one of `before`, `after`, `around` (message ids) and `skip`. The `Link`
    header has `next` for older messages and `prev` for newer ones."""
    wanted = PageRequest(limit, before, after, around, skip or None)
    page = await services.page_cache.page(claims, chat_id, wanted)
    return responses.encoded(page.body, link=responses.links(request, **relations_of(page)))


@router.post(
    "",
    summary="Send a message",
    status_code=201,
    response_model=Message,
    responses=problems.documented(*problems.CHAT_ERRORS, ClientIdConflict),
)
async def send_message(
    services: AppServices, claims: WriteClaims, chat_id: PathId, new: NewMessage
) -> Response:
    """The response is sent after the message is committed. A retry with the same `client_id` does not store
    the message again; it returns the first one."""
    draft = MessageDraft(chat_id, new.content, new.client_id, new.reply_to, new.attachments)
    message = await services.ledger.send(Sender(claims.user_id, claims.session_id), draft)
    return responses.json(message, 201, location=f"/api/chats/{chat_id}/messages/{message.id}")


@router.put(
    "/read",
    summary="Mark messages as read",
    response_model=ReadCursor,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def mark_read(
    services: AppServices, claims: WriteClaims, chat_id: PathId, reading: Reading | None = None
) -> Response:
    """Moves the caller's read cursor up to a message. The cursor never moves back."""
    cursor = await services.read_cursors.move(
        chat_id=chat_id,
        user_id=claims.user_id,
        session_id=claims.session_id,
        up_to=reading.up_to if reading else None,
    )
    return responses.json(cursor)


@router.get(
    "/{message_id:int}",
    summary="Get a message",
    response_model=Message,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def get_message(
    session: Transaction, caller: ReadCaller, chat_id: PathId, message_id: PathId
) -> Response:
    """Returns its current state. A deleted message has no content and a `deleted_at`."""
    return responses.json(await messages.get(session, caller, chat_id, message_id))


@router.put(
    "/{message_id:int}",
    summary="Edit a message",
    response_model=Message,
    responses=problems.documented(*problems.CHAT_ERRORS, MessageAlreadyDeleted),
)
async def edit_message(
    session: Transaction, caller: WriteCaller, chat_id: PathId, message_id: PathId, edit: Edit
) -> Response:
    """For the author only. The same content changes nothing: it is no edit."""
    message = await messages.edit(session, caller, chat_id, message_id, edit.content)
    return responses.json(message)


@router.delete(
    "/{message_id:int}",
    summary="Delete a message",
    status_code=204,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def delete_message(
    session: Transaction, caller: WriteCaller, chat_id: PathId, message_id: PathId
) -> Response:
    """For the author, the owner and admins. The content is removed everywhere; the message stays as a
    tombstone with `deleted_at`."""
    await messages.delete(session, caller, chat_id, message_id)
    return responses.no_content()


@router.get(
    "/{message_id:int}/read-status",
    summary="Get who has read a message",
    response_model=ReadStatus,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def get_read_status(
    session: Transaction, caller: ReadCaller, chat_id: PathId, message_id: PathId
) -> Response:
    """Covers the members who were in the chat when the message was sent, except its author."""
    return responses.json(await read_cursors.status(session, caller, chat_id, message_id))


@router.put(
    "/{message_id:int}/reactions/{emoji}",
    summary="React to a message",
    response_model=Message,
    responses=problems.documented(*problems.CHAT_ERRORS, MessageAlreadyDeleted, TooManyReactions),
)
async def add_reaction(
    session: Transaction, caller: WriteCaller, chat_id: PathId, message_id: PathId, emoji: Emoji
) -> Response:
    """A reaction is exactly one emoji of Unicode's RGI set. Returns the message with all its reactions.
    Idempotent."""
    return responses.json(await reactions.add(session, caller, chat_id, message_id, emoji))


@router.delete(
    "/{message_id:int}/reactions/{emoji}",
    summary="Remove a reaction",
    response_model=Message,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def remove_reaction(
    session: Transaction, caller: WriteCaller, chat_id: PathId, message_id: PathId, emoji: Emoji
) -> Response:
    """Removes the caller's reaction. Without one, nothing changes."""
    return responses.json(await reactions.remove(session, caller, chat_id, message_id, emoji))


@router.put(
    "/{message_id:int}/pin",
    summary="Pin a message",
    response_model=Message,
    responses=problems.documented(*problems.CHAT_ERRORS, MessageAlreadyDeleted, TooManyPins),
)
async def pin_message(
    session: Transaction, caller: WriteCaller, chat_id: PathId, message_id: PathId
) -> Response:
    """`GET /api/chats/{chat_id}/pins` lists a chat's pinned messages. Idempotent."""
    return responses.json(await messages.pin(session, caller, chat_id, message_id, True))


@router.delete(
    "/{message_id:int}/pin",
    summary="Unpin a message",
    response_model=Message,
    responses=problems.documented(*problems.CHAT_ERRORS, MessageAlreadyDeleted),
)
async def unpin_message(
    session: Transaction, caller: WriteCaller, chat_id: PathId, message_id: PathId
) -> Response:
    """The message itself stays. Idempotent."""
    return responses.json(await messages.pin(session, caller, chat_id, message_id, False))


def relations_of(page: CachedPage) -> dict[str, dict[str, Any]]:
    """Return the query of each page that the `Link` header leads to."""
    older = {"next": {"before": page.older}} if page.older else {}
    newer = {"prev": {"after": page.newer}} if page.newer else {}
    return older | newer
