"""Routes of chats and their members."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blazechat.api import problems, responses
from blazechat.api.callers import AdminCaller, AnyReadCaller, ReadCaller, WriteCaller
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import AfterUserId, ChatName, Limit, PathId, Skip, UserIds
from blazechat.api.openapi import operation_id
from blazechat.domain.chats.chats import ChatDraft
from blazechat.domain.messaging import messages
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Member
from blazechat.errors import AlreadyMember, ChatFull, DirectChatFixed, NotFound, OwnerNeeded
from blazechat.vocabulary import History, Role

router = APIRouter(prefix="/api/chats", tags=["Chats"], generate_unique_id_function=operation_id)


class NewChat(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Team", "is_group_chat": True, "user_ids": [2, 3]}]}
    )

    name: ChatName | None = None
    is_group_chat: bool | None = Field(
        None,
        description="False for the direct chat with one other user. By default, one other user without a"
        " name makes a direct chat, and anything else a group.",
    )
    user_ids: UserIds = Field(
        description="The other members. The caller is always a member. Without others, the group has the"
        " caller alone, for notes."
    )
    history: History = Field(
        History.ALL, description="Whether new members can read the messages from before they joined."
    )


class ChatChange(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Team"}]})

    name: ChatName | None = None
    history: History | None = None


def _or_the_list_alone(schema: dict[str, Any]) -> None:
    named = dict(schema)
    schema.clear()
    schema |= {
        "title": named["title"],
        "description": named.pop("description"),
        "anyOf": [named["properties"]["user_ids"], named | {"title": "NamedUsers"}],
    }


class NewMembers(BaseModel):
    """`[2, 3]` or `{"user_ids": [2, 3]}`."""

    model_config = ConfigDict(json_schema_extra=_or_the_list_alone)

    user_ids: UserIds

    @model_validator(mode="before")
    @classmethod
    def _name_list(cls, value: Any) -> Any:
        """Not a union, whose errors are those of all its types."""
        return {"user_ids": value} if isinstance(value, list) else value


class RoleChange(BaseModel):
    role: Role


@router.get(
    "",
    summary="List your chats",
    response_model=list[MyChat],
    responses=problems.documented(*problems.CALLER_ERRORS),
)
async def list_chats(
    request: Request,
    services: AppServices,
    session: Transaction,
    caller: AnyReadCaller,
    limit: Limit = 50,
    skip: Skip = 0,
) -> Response:
    """The chats with the latest messages first."""
    found = await services.chat_query.listed(session, caller, limit=limit + 1, skip=skip)
    return responses.skip_page(request, found, limit, skip)


@router.post(
    "",
    summary="Create a chat",
    status_code=201,
    response_model=MyChat,
    responses={
        200: {"model": MyChat, "description": "The direct chat of the two users, which exists already"},
        **problems.documented(*problems.CALLER_ERRORS, NotFound, ChatFull),
    },
)
async def create_chat(
    services: AppServices, session: Transaction, caller: WriteCaller, new: NewChat
) -> Response:
    """The caller becomes the owner. Two users have one direct chat: creating it again returns it as it
    is."""
    chat, is_new = await services.chats.create(session, caller, ChatDraft(**dict(new)))
    return responses.json(chat, 201 if is_new else 200, location=f"/api/chats/{chat.id}")


@router.get(
    "/{chat_id}",
    summary="Get a chat",
    response_model=MyChat,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def get_chat(
    services: AppServices, session: Transaction, caller: ReadCaller, chat_id: PathId
) -> Response:
    """Returns the chat with its first members, its last message and the number of unread messages."""
    return responses.json(await services.chat_query.find(session, caller.user_id, chat_id))


@router.put(
    "/{chat_id}",
    summary="Change a chat",
    response_model=MyChat,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def change_chat(
    services: AppServices, session: Transaction, caller: AdminCaller, chat_id: PathId, change: ChatChange
) -> Response:
    """For the owner and admins. Changes the name, or whether new members can read the messages from before
    they joined."""
    return responses.json(await services.chats.change(session, caller, chat_id, **dict(change)))


@router.delete(
    "/{chat_id}",
    summary="Delete a chat",
    status_code=204,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def delete_chat(
    services: AppServices, session: Transaction, caller: AdminCaller, chat_id: PathId
) -> Response:
    """For the owner; for both users of a direct chat. Deletes all its messages, for all members."""
    await services.chats.delete(session, caller, chat_id)
    return responses.no_content()


@router.get(
    "/{chat_id}/pins",
    summary="List pinned messages",
    response_model=list[Message],
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def list_pins(session: Transaction, caller: ReadCaller, chat_id: PathId) -> Response:
    """Last pinned first. A chat has at most 100."""
    return responses.json(await messages.pins(session, caller, chat_id))


@router.get(
    "/{chat_id}/members",
    summary="List members",
    response_model=list[Member],
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def list_members(
    request: Request,
    services: AppServices,
    session: Transaction,
    caller: ReadCaller,
    chat_id: PathId,
    limit: Limit = 100,
    after: AfterUserId = 0,
) -> Response:
    """In the order of ids. The `Link` header has the next page."""
    found = await services.chat_query.members(session, caller, chat_id, limit=limit + 1, after=after)
    return responses.keyset_page(request, found, limit, cursor="after")


@router.post(
    "/{chat_id}/members",
    summary="Add members",
    response_model=MyChat,
    responses=problems.documented(*problems.CHAT_ERRORS, AlreadyMember, DirectChatFixed, ChatFull),
)
async def add_members(
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: PathId,
    new: Annotated[NewMembers, Body(examples=[[2, 3], {"user_ids": [2, 3]}])],
) -> Response:
    """For the owner and admins. Adds all of the users, or none."""
    return responses.json(await services.members.add(session, caller, chat_id, new.user_ids))


@router.put(
    "/{chat_id}/members/{user_id}",
    summary="Change a member's role",
    response_model=MyChat,
    responses=problems.documented(*problems.CHAT_ERRORS, DirectChatFixed, OwnerNeeded),
)
async def change_member_role(
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: PathId,
    user_id: PathId,
    change: RoleChange,
) -> Response:
    """For the owner. A new owner makes the present owner an admin."""
    chat = await services.members.set_role(session, caller, chat_id, user_id, change.role)
    return responses.json(chat)


@router.delete(
    "/{chat_id}/members/{user_id}",
    summary="Remove a member, or leave",
    response_model=MyChat,
    responses=problems.documented(*problems.CHAT_ERRORS, DirectChatFixed),
)
async def remove_member(
    services: AppServices, session: Transaction, caller: AdminCaller, chat_id: PathId, user_id: PathId
) -> Response:
    """All members can leave, by removing themselves. If the owner leaves, the longest-serving admin becomes
    the owner, else the longest-serving member; if the last member leaves, the chat is deleted. Returns the
    chat after the removal."""
    return responses.json(await services.members.remove(session, caller, chat_id, user_id))
