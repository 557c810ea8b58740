"""Messages and who has read them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.dependencies import (
    LARGEST_ID,
    AllServices,
    AnyId,
    Id,
    Limit,
    ReadCaller,
    ReaderClaims,
    Transaction,
    WriteCaller,
    WriterClaims,
)
from blazechat.domain.messaging import messages, reactions, read_cursors
from blazechat.domain.messaging.messages import PageRequest
from blazechat.domain.messaging.page_cache import CachedPage as PageOfHistory
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.messages import Message, ReadCursor, ReadStatus
from blazechat.domain.validation import ATTACHMENTS_LIMIT, CLIENT_ID_LIMIT, EMOJI_LIMIT, MESSAGE_LIMIT
from blazechat.errors import ClientIdConflict, MessageDeleted, TooManyPins, TooManyReactions

router = APIRouter(prefix="/api/chats/{chat_id}/messages", tags=["Messages"])


# Documented here, checked in domain/texts.py, whose sentences say more.
Content = Annotated[
    str,
    Field(description="not blank", json_schema_extra={"minLength": 1, "maxLength": MESSAGE_LIMIT}),
]


Caption = Annotated[
    str,
    Field(
        description="not blank, unless there are attachments",
        json_schema_extra={"maxLength": MESSAGE_LIMIT},
    ),
]
Attachments = Annotated[
    list[Annotated[int, Field(ge=1, le=LARGEST_ID)]],
    Field(max_length=1000, json_schema_extra={"maxItems": ATTACHMENTS_LIMIT, "uniqueItems": True}),
]

Emoji = Annotated[str, Path(min_length=1, max_length=EMOJI_LIMIT, examples=["👍"])]


class NewMessage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"content": "Hello!", "client_id": "c1"}]})

    content: Caption = ""
    client_id: str | None = Field(
        None,
        min_length=1,
        max_length=CLIENT_ID_LIMIT,
        description="the sender's own name for it, which makes sending it again harmless",
    )
    reply_to: int | None = Field(None, ge=1, le=LARGEST_ID, description="a message of this chat")
    attachments: Attachments = Field([], description="ids of files of one's own that have been uploaded")


class Edit(BaseModel):
    content: Caption


class Reading(BaseModel):
    up_to: int | None = Field(None, ge=0, le=LARGEST_ID, description="without it, the newest")


@router.get(
    "",
    summary="Read messages",
    response_model=list[Message],
    responses=problems.documented(*problems.IN_CHAT),
)
async def list_messages(
    request: Request,
    services: AllServices,
    claims: ReaderClaims,
    chat_id: Id,
    limit: Limit = 50,
    before: AnyId | None = None,
    after: Annotated[int | None, Query(ge=0, le=LARGEST_ID)] = None,
    around: AnyId | None = None,
    skip: Annotated[int | None, Query(ge=0, le=LARGEST_ID)] = None,
) -> Response:
    """Newest first. One of `before`, `after`, `around` (ids of messages) and `skip` says where; the
    `Link` header leads on: `next` to older messages, `prev` to newer ones."""
    page = await services.page_cache.page(
        claims, chat_id, PageRequest(limit, before, after, around, skip or None)
    )
    return responses.body(page.body, link=_links(request, page))


@router.post(
    "",
    summary="Send a message",
    status_code=201,
    response_model=Message,
    responses=problems.documented(*problems.IN_CHAT, ClientIdConflict),
)
async def send_message(
    services: AllServices, claims: WriterClaims, chat_id: Id, new: NewMessage
) -> Response:
    """Answered when it is stored for good. Sent again with the same `client_id`, it is not stored
    again: the answer is the first message."""
    draft = MessageDraft(chat_id, new.content, new.client_id, new.reply_to, new.attachments)
    message = await services.ledger.send(Sender(claims.user_id, claims.session_id), draft)
    return responses.json(message, 201, location=f"/api/chats/{chat_id}/messages/{message.id}")


@router.put(
    "/read",
    summary="Mark as read",
    response_model=ReadCursor,
    responses=problems.documented(*problems.IN_CHAT),
)
async def mark_read(
    services: AllServices, claims: WriterClaims, chat_id: Id, reading: Reading | None = None
) -> Response:
    """Up to a message, or the newest. The cursor never goes back."""
    moved = await services.read_cursors.move(
        chat_id=chat_id,
        user_id=claims.user_id,
        session_id=claims.session_id,
        up_to=reading.up_to if reading else None,
    )
    return responses.json(moved)


@router.get(
    "/{message_id:int}",
    summary="Show a message",
    response_model=Message,
    responses=problems.documented(*problems.IN_CHAT),
)
async def show_message(session: Transaction, caller: ReadCaller, chat_id: Id, message_id: Id) -> Response:
    """As it is now; of a deleted one, the marker."""
    return responses.json(await messages.one(session, caller, chat_id, message_id))


@router.put(
    "/{message_id:int}",
    summary="Edit a message",
    response_model=Message,
    responses=problems.documented(*problems.IN_CHAT, MessageDeleted),
)
async def edit_message(
    session: Transaction, caller: WriteCaller, chat_id: Id, message_id: Id, edit: Edit
) -> Response:
    """Its author only."""
    message = await messages.edit(session, caller, chat_id, message_id, edit.content)
    return responses.json(message)


@router.delete(
    "/{message_id:int}",
    summary="Delete a message",
    status_code=204,
    responses=problems.documented(*problems.IN_CHAT),
)
async def delete_message(
    session: Transaction, caller: WriteCaller, chat_id: Id, message_id: Id
) -> Response:
    """Its content is gone from everywhere; a marker stays in its place. Author, owner and admins."""
    await messages.delete(session, caller, chat_id, message_id)
    return responses.nothing()


@router.get(
    "/{message_id:int}/read-status",
    summary="Who has read a message",
    response_model=ReadStatus,
    responses=problems.documented(*problems.IN_CHAT),
)
async def read_status(session: Transaction, caller: ReadCaller, chat_id: Id, message_id: Id) -> Response:
    """Of those who were in the chat when it was sent, its author left out."""
    return responses.json(await read_cursors.status(session, caller, chat_id, message_id))


@router.put(
    "/{message_id:int}/reactions/{emoji}",
    summary="React to a message",
    response_model=Message,
    responses=problems.documented(*problems.IN_CHAT, MessageDeleted, TooManyReactions),
)
async def add_reaction(
    session: Transaction, caller: WriteCaller, chat_id: Id, message_id: Id, emoji: Emoji
) -> Response:
    """With an emoji; the answer is the message with all its reactions. Doing so twice is doing so once."""
    return responses.json(await reactions.add(session, caller, chat_id, message_id, emoji))


@router.delete(
    "/{message_id:int}/reactions/{emoji}",
    summary="Take a reaction back",
    response_model=Message,
    responses=problems.documented(*problems.IN_CHAT),
)
async def remove_reaction(
    session: Transaction, caller: WriteCaller, chat_id: Id, message_id: Id, emoji: Emoji
) -> Response:
    """One's own; where there is none, nothing changes."""
    return responses.json(await reactions.remove(session, caller, chat_id, message_id, emoji))


@router.put(
    "/{message_id:int}/pin",
    summary="Pin a message",
    response_model=Message,
    responses=problems.documented(*problems.IN_CHAT, MessageDeleted, TooManyPins),
)
async def pin_message(session: Transaction, caller: WriteCaller, chat_id: Id, message_id: Id) -> Response:
    """To its chat; `GET /api/chats/{chat_id}/pins` lists what is pinned."""
    return responses.json(await messages.pin(session, caller, chat_id, message_id, True))


@router.delete(
    "/{message_id:int}/pin",
    summary="Unpin a message",
    response_model=Message,
    responses=problems.documented(*problems.IN_CHAT, MessageDeleted),
)
async def unpin_message(session: Transaction, caller: WriteCaller, chat_id: Id, message_id: Id) -> Response:
    """The message itself stays."""
    return responses.json(await messages.pin(session, caller, chat_id, message_id, False))


def _links(request: Request, page: PageOfHistory) -> str | None:
    older = {"before": page.older} if page.older else None
    newer = {"after": page.newer} if page.newer else None
    return responses.link(request, next=older, prev=newer)
