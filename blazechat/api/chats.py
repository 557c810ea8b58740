"""Chats and who is in them."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, RootModel

from blazechat.api import problems, responses
from blazechat.api.dependencies import (
    LARGEST_ID,
    AdminCaller,
    AllServices,
    AnyReadCaller,
    Id,
    Limit,
    ReadCaller,
    Skip,
    Transaction,
    WriteCaller,
)
from blazechat.domain.chats import chats
from blazechat.domain.messaging import messages
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Member
from blazechat.domain.validation import CHAT_NAME_LIMIT
from blazechat.errors import AlreadyMember, ChatFull, DirectChatFixed, NotFound, OwnerNeeded
from blazechat.vocabulary import History, Role

router = APIRouter(prefix="/api/chats", tags=["Chats"])

AT_ONCE = 1000
"""Users that one request can name."""

UserId = Annotated[int, Field(ge=1, le=LARGEST_ID)]
UserIds = Annotated[list[UserId], Field(max_length=AT_ONCE)]


ChatName = Annotated[str, Field(max_length=1000, json_schema_extra={"maxLength": CHAT_NAME_LIMIT})]


class NewChat(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Team", "is_group_chat": True, "user_ids": [2, 3]}]}
    )

    name: ChatName | None = None
    is_group_chat: bool | None = Field(
        None, description="without it, one other user makes a direct chat, any other number a group"
    )
    user_ids: UserIds = Field(description="the others; oneself is in it anyway")
    history: History = Field(
        History.ALL, description="whether those who join later may read what was said before"
    )


class ChatChange(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Team"}]})

    name: ChatName | None = None
    history: History | None = None


class NamedUsers(BaseModel):
    user_ids: UserIds


class NewMembers(RootModel[UserIds | NamedUsers]):
    """`[2, 3]` or `{"user_ids": [2, 3]}`."""

    @property
    def user_ids(self) -> list[int]:
        return self.root.user_ids if isinstance(self.root, NamedUsers) else self.root


class RoleChange(BaseModel):
    role: Role


@router.get(
    "",
    summary="List one's chats",
    response_model=list[MyChat],
    responses=problems.documented(*problems.SIGNED_IN),
)
async def list_chats(
    request: Request,
    services: AllServices,
    session: Transaction,
    caller: AnyReadCaller,
    limit: Limit = 50,
    skip: Skip = 0,
) -> Response:
    """Those with the latest message first."""
    listed = await services.chats.listed(session, caller, limit=limit + 1, skip=skip)
    found, more = responses.cut(listed, limit)
    return responses.json(found, link=responses.next_skip(request, more, limit, skip))


@router.post(
    "",
    summary="Create a chat",
    status_code=201,
    response_model=MyChat,
    responses={
        200: {"model": MyChat, "description": "The direct chat that the two have already"},
        **problems.documented(*problems.SIGNED_IN, NotFound, ChatFull),
    },
)
async def create_chat(
    services: AllServices, session: Transaction, caller: WriteCaller, new: NewChat
) -> Response:
    """The caller becomes its owner. A pair of users has one direct chat: asking again returns it."""
    chat, is_new = await services.chats.create(session, caller, **dict(new))
    return responses.json(chat, 201 if is_new else 200, location=f"/api/chats/{chat.id}")


@router.get(
    "/{chat_id}",
    summary="Show a chat",
    response_model=MyChat,
    responses=problems.documented(*problems.IN_CHAT),
)
async def show_chat(
    services: AllServices, session: Transaction, caller: ReadCaller, chat_id: Id
) -> Response:
    """With its members, the last message and how much is unread."""
    return responses.json(await services.chats.mine(session, caller.user_id, chat_id))


@router.put(
    "/{chat_id}",
    summary="Change a chat",
    response_model=MyChat,
    responses=problems.documented(*problems.IN_CHAT),
)
async def change_chat(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Id, change: ChatChange
) -> Response:
    """Rename it, or say who may read what was said before they joined. Owner and admins."""
    return responses.json(await services.chats.change(session, caller, chat_id, **dict(change)))


@router.delete(
    "/{chat_id}",
    summary="Delete a chat",
    status_code=204,
    responses=problems.documented(*problems.IN_CHAT),
)
async def delete_chat(session: Transaction, caller: AdminCaller, chat_id: Id) -> Response:
    """For everybody, with all messages. Owner only; either of the two in a direct chat."""
    await chats.delete(session, caller, chat_id)
    return responses.nothing()


@router.get(
    "/{chat_id}/pins",
    summary="List pinned messages",
    response_model=list[Message],
    responses=problems.documented(*problems.IN_CHAT),
)
async def list_pins(session: Transaction, caller: ReadCaller, chat_id: Id) -> Response:
    """The last pinned first; a chat has at most a hundred."""
    return responses.json(await messages.pins(session, caller, chat_id))


@router.get(
    "/{chat_id}/members",
    summary="List members",
    response_model=list[Member],
    responses=problems.documented(*problems.IN_CHAT),
)
async def list_members(
    request: Request,
    services: AllServices,
    session: Transaction,
    caller: ReadCaller,
    chat_id: Id,
    limit: Limit = 100,
    after: Annotated[int, Query(ge=0, le=LARGEST_ID, description="An id: users behind it.")] = 0,
) -> Response:
    """In the order of ids. The `Link` header leads to the next page."""
    listed = await services.chats.members(session, caller, chat_id, limit=limit + 1, after=after)
    found, more = responses.cut(listed, limit)
    following = {"after": found[-1].id} if more else None
    return responses.json(found, link=responses.link(request, next=following))


@router.post(
    "/{chat_id}/members",
    summary="Add members",
    response_model=MyChat,
    responses=problems.documented(*problems.IN_CHAT, AlreadyMember, DirectChatFixed, ChatFull),
)
async def add_members(
    services: AllServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: Id,
    new: Annotated[NewMembers, Body(examples=[[2, 3], {"user_ids": [2, 3]}])],
) -> Response:
    """All of them, or none. Owner and admins."""
    return responses.json(await services.members.add(session, caller, chat_id, new.user_ids))


@router.put(
    "/{chat_id}/members/{user_id}",
    summary="Change a role",
    response_model=MyChat,
    responses=problems.documented(*problems.IN_CHAT, DirectChatFixed, OwnerNeeded),
)
async def change_role(
    services: AllServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: Id,
    user_id: Id,
    change: RoleChange,
) -> Response:
    """Owner only. Making somebody else the owner makes the present one an admin."""
    chat = await services.members.set_role(session, caller, chat_id, user_id, change.role)
    return responses.json(chat)


@router.delete(
    "/{chat_id}/members/{user_id}",
    summary="Remove a member, or leave",
    response_model=MyChat,
    responses=problems.documented(*problems.IN_CHAT, DirectChatFixed),
)
async def remove_member(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Id, user_id: Id
) -> Response:
    """Removing oneself is leaving, which everybody may; an owner who leaves is followed by the
    longest-serving admin, else member. The answer is the chat as it is then."""
    return responses.json(await services.members.remove(session, caller, chat_id, user_id))
