"""Routes of the conversations API: the same users, chats and messages under other names and paths."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, request_body, responses
from blazechat.api.auth import REGISTRATION_ERRORS, Registration
from blazechat.api.callers import AnyReadCaller, ReadCaller, WriteCaller, WriteClaims
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import (
    SERVICE_CHECKS,
    AttachmentIds,
    ClientId,
    Limit,
    MessageContent,
    PathId,
    Skip,
    UserIds,
)
from blazechat.api.message_body import MessageBody
from blazechat.api.openapi import operation_id
from blazechat.domain.chats.chats import ChatDraft
from blazechat.domain.messaging import messages
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.files import Attachment
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Account, Member
from blazechat.errors import ChatFull, ClientIdConflict, NotFound

router = APIRouter(prefix="/api", tags=["Conversations API"], generate_unique_id_function=operation_id)

LATEST_MESSAGES = 20
"""Messages in a Conversation."""
DEFAULT_CONVERSATIONS = 10
DEFAULT_MESSAGES = 20


@dataclass(frozen=True, slots=True)
class ConversationMessage:
    id: int
    content: str
    created_at: datetime
    sender_id: int
    conversation_id: int
    client_id: str
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
            message.attachments,
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    """`messages` are the latest ones, newest first, without deleted ones."""

    id: int
    name: str | None
    created_at: datetime
    users: list[Member]
    messages: list[ConversationMessage]

    @classmethod
    def of(cls, chat: MyChat, latest: dict[int, list[Message]]) -> "Conversation":
        """`latest` has the latest messages by chat id."""
        messages = [ConversationMessage.of(message) for message in latest.get(chat.id, [])]
        return cls(chat.id, chat.name, chat.created_at, chat.users, messages)


class NewConversation(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"participant_ids": [2]}]})

    participant_ids: UserIds = Field(
        description="The members. The caller may be included or left out. The caller alone is a group for"
        " notes."
    )


class NewConversationMessage(MessageBody):
    content: MessageContent = ""
    client_id: ClientId | None = None
    attachments: AttachmentIds = Field([])


@router.post(
    "/users",
    summary="Create an account",
    response_model=Account,
    dependencies=SERVICE_CHECKS,
    responses=problems.documented(*REGISTRATION_ERRORS),
)
async def create_user(services: AppServices, new: Registration) -> Response:
    """Same as `POST /api/auth/register`, except for the status 200."""
    account = await services.accounts.register(new.username, new.email, new.password, new.invitation)
    return responses.json(account)


@router.post(
    "/messages/conversations",
    summary="Create a conversation",
    response_model=Conversation,
    responses=problems.documented(*problems.CALLER_ERRORS, NotFound, ChatFull),
)
async def create_conversation(
    services: AppServices, session: Transaction, caller: WriteCaller, new: NewConversation
) -> Response:
    """With one other user it is the direct chat of the two, which may exist already."""
    chat, _ = await services.chats.create(session, caller, ChatDraft(new.participant_ids))
    latest = await messages.latest(session, caller, [chat.id], LATEST_MESSAGES)
    return responses.json(Conversation.of(chat, latest))


@router.get(
    "/messages/conversations",
    summary="List your conversations",
    response_model=list[Conversation],
    responses=problems.documented(*problems.CALLER_ERRORS),
)
async def list_conversations(
    request: Request,
    services: AppServices,
    session: Transaction,
    caller: AnyReadCaller,
    skip: Skip = 0,
    limit: Limit = DEFAULT_CONVERSATIONS,
) -> Response:
    """The conversations with the latest messages first."""
    found = await services.chat_query.listed(session, caller, limit=limit + 1, skip=skip)
    chats, has_more = responses.page_of(found, limit)
    latest = await messages.latest(session, caller, [chat.id for chat in chats], LATEST_MESSAGES)
    conversations = [Conversation.of(chat, latest) for chat in chats]
    return responses.json(conversations, link=responses.skip_link(request, has_more, limit, skip))


async def _new_message(request: Request) -> NewConversationMessage:
    return await request_body.json_or_form(request, NewConversationMessage)


_BODY = {"schema": NewConversationMessage.model_json_schema(), "example": {"content": "Hello!"}}


@router.post(
    "/messages/conversations/{conversation_id}/messages",
    summary="Send a message",
    response_model=ConversationMessage,
    responses=problems.documented(*problems.CHAT_ERRORS, ClientIdConflict),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": _BODY, "application/x-www-form-urlencoded": _BODY},
        }
    },
)
async def send_conversation_message(
    services: AppServices,
    claims: WriteClaims,
    conversation_id: PathId,
    new: Annotated[NewConversationMessage, Depends(_new_message)],
) -> Response:
    """Send JSON or a form. The response is sent after the message is committed."""
    draft = MessageDraft(conversation_id, new.content, new.client_id, attachments=new.attachments)
    message = await services.ledger.send(Sender(claims.user_id, claims.session_id), draft)
    return responses.json(ConversationMessage.of(message))


@router.get(
    "/messages/conversations/{conversation_id}/messages",
    summary="List messages",
    response_model=list[ConversationMessage],
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def list_conversation_messages(
    request: Request,
    session: Transaction,
    caller: ReadCaller,
    conversation_id: PathId,
    skip: Skip = 0,
    limit: Limit = DEFAULT_MESSAGES,
) -> Response:
    """Newest first, without deleted messages."""
    found = await messages.page_without_deleted(
        session, caller, conversation_id, limit=limit + 1, skip=skip
    )
    shown = [ConversationMessage.of(message) for message in found]
    return responses.skip_page(request, shown, limit, skip)
