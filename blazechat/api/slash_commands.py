"""Routes of slash commands: managing those of a chat, running one, and replying to one later."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses, slack_responses
from blazechat.api.callers import AdminCaller, ReadCaller, WriteCallerNoTransaction
from blazechat.api.dependencies import AppServices, BaseUrl, Transaction
from blazechat.api.field_errors import checked
from blazechat.api.fields import MAX_FIELD_CHARACTERS, SERVICE_CHECKS, Label, PathId, Url
from blazechat.api.openapi import operation_id
from blazechat.domain import validation
from blazechat.domain.integrations import slash_commands
from blazechat.domain.integrations.slash_commands import CommandDraft
from blazechat.domain.schemas.integrations import CommandAnswer, SlashCommand
from blazechat.domain.validation import MAX_DESCRIPTION_CHARACTERS, MAX_MESSAGE_CHARACTERS
from blazechat.errors import (
    ChatFull,
    CommandFailed,
    DirectChatFixed,
    TooManyPosts,
    TooManyWebhooks,
    WordTaken,
)

router = APIRouter(tags=["Webhooks"], generate_unique_id_function=operation_id)


class NewSlashCommand(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"word": "/deploy", "name": "Deploys", "url": "https://example.com/deploy"}]
        }
    )

    word: Annotated[
        str,
        Field(max_length=MAX_FIELD_CHARACTERS, description="The command as users type it, with its `/`."),
        checked(slash_commands.check_word),
    ]
    name: Annotated[Label, Field(description="The author name of its messages.")]
    url: Url
    description: Annotated[
        str,
        Field(
            max_length=MAX_FIELD_CHARACTERS,
            description="A short text for the list of commands.",
            json_schema_extra={"maxLength": MAX_DESCRIPTION_CHARACTERS},
        ),
        checked(validation.description),
    ] = ""


class GivenCommand(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "/deploy production"}]})

    text: Annotated[
        str, Field(max_length=MAX_MESSAGE_CHARACTERS, description="The command word and its arguments.")
    ]


@router.post(
    "/api/chats/{chat_id}/slash-commands",
    summary="Create a slash command",
    status_code=201,
    dependencies=SERVICE_CHECKS,
    response_model=SlashCommand,
    responses=problems.documented(
        *problems.CHAT_ERRORS, DirectChatFixed, ChatFull, TooManyWebhooks, WordTaken
    ),
)
async def create_slash_command(
    base_url: BaseUrl,
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: PathId,
    new: NewSlashCommand,
) -> Response:
    """For the owner and admins of a group. The server calls `url` when a member gives the command, and
    signs the request with `secret`. Only this response returns the secret."""
    draft = CommandDraft(base_url=base_url, **dict(new))
    command = await services.slash_commands.create(session, caller, chat_id, draft)
    location = f"/api/chats/{chat_id}/slash-commands/{command.id}"
    return responses.json(command, 201, location=location)


@router.get(
    "/api/chats/{chat_id}/slash-commands",
    summary="List slash commands",
    response_model=list[SlashCommand],
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def list_slash_commands(
    services: AppServices, session: Transaction, caller: ReadCaller, chat_id: PathId
) -> Response:
    """In alphabetical order. Only the owner and admins see the URLs."""
    return responses.json(await services.slash_commands.list_all(session, caller, chat_id))


@router.delete(
    "/api/chats/{chat_id}/slash-commands/{command_id}",
    summary="Delete a slash command",
    status_code=204,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def delete_slash_command(
    services: AppServices, session: Transaction, caller: AdminCaller, chat_id: PathId, command_id: PathId
) -> Response:
    """For the owner and admins. The messages that it posted stay."""
    await services.slash_commands.delete(session, caller, chat_id, command_id)
    return responses.no_content()


@router.post(
    "/api/chats/{chat_id}/commands",
    summary="Run a slash command",
    response_model=CommandAnswer,
    responses=problems.documented(*problems.CHAT_ERRORS, CommandFailed, TooManyPosts),
)
async def run_slash_command(
    services: AppServices, caller: WriteCallerNoTransaction, chat_id: PathId, given: GivenCommand
) -> Response:
    """Returns the answer of the command's program: a message in the chat, or a text for the caller only.
    The program has three seconds. An empty response means that the answer may come later, as a message or
    as a `notice` on the caller's sockets."""
    return responses.json(await services.slash_command_caller.invoke(caller, chat_id, given.text))


@router.post(
    "/hooks/reply/{token}",
    summary="Reply to a slash command",
    response_class=Response,
    responses=slack_responses.RESPONSES,
    openapi_extra=slack_responses.REQUEST_BODY,
)
async def reply_to_slash_command(request: Request, services: AppServices, token: str) -> Response:
    """Post to a command's `response_url`, at most five times within 30 minutes. `{"text": …}` is for the
    caller of the command only; `"response_type": "in_channel"` makes it a message of the chat. The response
    is `ok`, or a word for the error."""

    async def receive(content_type: str, body: bytes) -> None:
        await services.slash_command_caller.reply(token, content_type, body)

    return await slack_responses.respond(request, receive)
