"""Slash commands: those of a chat, giving one, and the URLs by which they are answered later."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.auth import NAME_LIMIT
from blazechat.api.dependencies import (
    AdminCaller,
    AllServices,
    BaseUrl,
    Id,
    KnownMember,
    ReadCaller,
    Transaction,
)
from blazechat.api.incoming_webhooks import POST_BODY, POST_RESPONSES, answered
from blazechat.api.webhooks import Url
from blazechat.domain.schemas.integrations import CommandAnswer, SlashCommand
from blazechat.domain.validation import MESSAGE_LIMIT, NOTE_LIMIT
from blazechat.errors import (
    ChatFull,
    CommandFailed,
    DirectChatFixed,
    TooManyPosts,
    TooManyWebhooks,
    WordTaken,
)

router = APIRouter(tags=["Webhooks"])


class NewSlashCommand(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"word": "/deploy", "name": "Deploys", "url": "https://example.com/deploy"}]
        }
    )

    word: Annotated[str, Field(max_length=NAME_LIMIT, description="`/` and what people type behind it")]
    name: Annotated[str, Field(max_length=NAME_LIMIT, description="as it is shown when it speaks")]
    url: Url
    description: str = Field("", max_length=NOTE_LIMIT, description="for the list of commands")


class GivenCommand(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "/deploy production"}]})

    text: Annotated[str, Field(max_length=MESSAGE_LIMIT, description="the command, and what follows it")]


@router.post(
    "/api/chats/{chat_id}/slash-commands",
    summary="Make a slash command",
    status_code=201,
    response_model=SlashCommand,
    responses=problems.documented(*problems.IN_CHAT, DirectChatFixed, ChatFull, TooManyWebhooks, WordTaken),
)
async def create_slash_command(
    base_url: BaseUrl,
    services: AllServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: Id,
    new: NewSlashCommand,
) -> Response:
    """Its `url` is called when somebody gives the command, signed with the `secret`, which is told this
    once. Owner and admins; groups only."""
    made = await services.slash_commands.create(session, caller, chat_id, base_url=base_url, **dict(new))
    return responses.json(made, 201, location=f"/api/chats/{chat_id}/slash-commands/{made.id}")


@router.get(
    "/api/chats/{chat_id}/slash-commands",
    summary="List slash commands",
    response_model=list[SlashCommand],
    responses=problems.documented(*problems.IN_CHAT),
)
async def list_slash_commands(
    services: AllServices, session: Transaction, caller: ReadCaller, chat_id: Id
) -> Response:
    """By their words; for the owner and admins, with their URLs."""
    return responses.json(await services.slash_commands.listed(session, caller, chat_id))


@router.delete(
    "/api/chats/{chat_id}/slash-commands/{command_id}",
    summary="Delete a slash command",
    status_code=204,
    responses=problems.documented(*problems.IN_CHAT),
)
async def delete_slash_command(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Id, command_id: Id
) -> Response:
    """What it said stays. Owner and admins."""
    await services.slash_commands.delete(session, caller, chat_id, command_id)
    return responses.nothing()


@router.post(
    "/api/chats/{chat_id}/commands",
    summary="Give a slash command",
    response_model=CommandAnswer,
    responses=problems.documented(*problems.IN_CHAT, CommandFailed, TooManyPosts),
)
async def give_command(
    services: AllServices, caller: KnownMember, chat_id: Id, given: GivenCommand
) -> Response:
    """What its program answers within three seconds: a message in the chat, or words for the caller alone.
    Without either, an answer may come later: a message, or a `notice` on the caller's sockets."""
    return responses.json(await services.slash_command_caller.invoke(caller, chat_id, given.text))


@router.post(
    "/hooks/reply/{token}",
    summary="Answer a slash command",
    response_class=Response,
    responses=POST_RESPONSES,
    openapi_extra=POST_BODY,
)
async def reply(request: Request, services: AllServices, token: str) -> Response:
    """To the `response_url` of a command, within half an hour, five times at most: `{"text": …}` for the
    caller alone, with `"response_type": "in_channel"` for the chat. Answered with `ok`, or a word."""

    async def take(content_type: str, body: bytes) -> None:
        await services.slash_command_caller.reply(token, content_type, body)

    return await answered(request, take)
