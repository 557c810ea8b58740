"""BlazeChat's dialect: the same users, chats and messages under other names."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blazechat.api import problems, responses
from blazechat.api.auth import REGISTRATION_ERRORS, Registration
from blazechat.api.chats import UserIds
from blazechat.api.dependencies import (
    AllServices,
    AnyReadCaller,
    Id,
    Limit,
    ReadCaller,
    Skip,
    Transaction,
    WriteCaller,
    WriterClaims,
)
from blazechat.api.messages import Attachments, Caption
from blazechat.domain.messaging import messages
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.files import Attachment
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Account, Member
from blazechat.errors import ChatFull, ClientIdConflict, InvalidInput, NotFound

router = APIRouter(prefix="/api", tags=["BlazeChat's dialect"])

LATEST = 20
"""Messages that a conversation is shown with."""


@dataclass(frozen=True, slots=True)
class ConversationMessage:
    id: int
    content: str
    created_at: datetime
    sender_id: int
    conversation_id: int
    client_id: str
    deleted_at: datetime | None
    attachments: list[Attachment]

    @classmethod
    def of(cls, message: Message) -> "ConversationMessage":
        return cls(
            message.id,
            message.content,
            message.created_at,
            message.user_id,
            message.chat_id,
            message.client_id,
            message.deleted_at,
            message.attachments,
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    """`messages` are the latest few, the oldest first."""

    id: int
    name: str | None
    created_at: datetime
    users: list[Member]
    messages: list[ConversationMessage]

    @classmethod
    def of(cls, chat: MyChat, latest: list[Message]) -> "Conversation":
        told = [ConversationMessage.of(message) for message in latest]
        return cls(chat.id, chat.name, chat.created_at, chat.users, told)


class NewConversation(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"participant_ids": [2]}]})

    participant_ids: UserIds = Field(description="oneself may be among them or not")


class NewText(BaseModel):
    content: Caption = ""
    client_id: str | None = None
    attachments: Attachments = []


@router.post(
    "/users",
    summary="Create an account",
    response_model=Account,
    responses=problems.documented(*REGISTRATION_ERRORS),
)
async def create_user(services: AllServices, new: Registration) -> Response:
    """As `/api/auth/register`, answered with 200."""
    account = await services.accounts.register(new.username, new.email, new.password, new.invitation)
    return responses.json(account)


@router.post(
    "/messages/conversations",
    summary="Start a conversation",
    response_model=Conversation,
    responses=problems.documented(*problems.SIGNED_IN, NotFound, ChatFull),
)
async def create_conversation(
    services: AllServices, session: Transaction, caller: WriteCaller, new: NewConversation
) -> Response:
    """With one other user it is the direct chat of the two, which may exist already."""
    chat, _ = await services.chats.create(
        session, caller, name=None, is_group_chat=None, user_ids=new.participant_ids
    )
    latest = await messages.latest(session, caller, [chat.id], LATEST)
    return responses.json(Conversation.of(chat, latest.get(chat.id, [])))


@router.get(
    "/messages/conversations",
    summary="List one's conversations",
    response_model=list[Conversation],
    responses=problems.documented(*problems.SIGNED_IN),
)
async def list_conversations(
    request: Request,
    services: AllServices,
    session: Transaction,
    caller: AnyReadCaller,
    skip: Skip = 0,
    limit: Limit = 100,
) -> Response:
    """Those with the latest message first."""
    listed = await services.chats.listed(session, caller, limit=limit + 1, skip=skip)
    found, more = responses.cut(listed, limit)
    latest = await messages.latest(session, caller, [chat.id for chat in found], LATEST)
    shown = [Conversation.of(chat, latest.get(chat.id, [])) for chat in found]
    return responses.json(shown, link=responses.next_skip(request, more, limit, skip))


async def _text(request: Request) -> NewText:
    """The body as JSON or as a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = kind in ("application/x-www-form-urlencoded", "multipart/form-data")
    try:
        body: Any = await _form(request) if form else await request.json()
    except (ValueError, RecursionError):  # what is not JSON, or not UTF-8
        raise InvalidInput.of("", "The body is neither JSON nor a form.") from None
    try:
        return NewText.model_validate(body)
    except ValidationError as error:
        problems_found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(problems_found) from None


async def _form(request: Request) -> dict[str, Any]:
    async with request.form(max_files=1) as form:
        return dict(form)


_TEXT_SCHEMA = {"schema": NewText.model_json_schema(), "example": {"content": "Hello!"}}


@router.post(
    "/messages/conversations/{conversation_id}/messages",
    summary="Send a message",
    response_model=ConversationMessage,
    responses=problems.documented(*problems.IN_CHAT, ClientIdConflict),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": _TEXT_SCHEMA,
                "application/x-www-form-urlencoded": _TEXT_SCHEMA,
            },
        }
    },
)
async def send_message(
    services: AllServices,
    claims: WriterClaims,
    conversation_id: Id,
    new: Annotated[NewText, Depends(_text)],
) -> Response:
    """`{content}` as JSON or as a form; answered when it is stored for good."""
    draft = MessageDraft(conversation_id, new.content, new.client_id, attachments=new.attachments)
    message = await services.ledger.send(Sender(claims.user_id, claims.session_id), draft)
    return responses.json(ConversationMessage.of(message))


@router.get(
    "/messages/conversations/{conversation_id}/messages",
    summary="Read messages",
    response_model=list[ConversationMessage],
    responses=problems.documented(*problems.IN_CHAT),
)
async def list_messages(
    request: Request,
    session: Transaction,
    caller: ReadCaller,
    conversation_id: Id,
    skip: Skip = 0,
    limit: Limit = 100,
) -> Response:
    """Oldest first."""
    found = await messages.from_the_first(session, caller, conversation_id, skip=skip, limit=limit)
    shown = [ConversationMessage.of(message) for message in found.messages]
    return responses.json(shown, link=responses.next_skip(request, found.newer, limit, skip))
