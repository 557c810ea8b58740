"""Routes of bots and API tokens."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.callers import LoginCaller
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import MAX_ID, BodyId, DisplayName, Label, PathId, Username
from blazechat.api.openapi import operation_id
from blazechat.domain.accounts import api_tokens
from blazechat.domain.accounts.api_tokens import MAX_CHATS_PER_TOKEN, TokenDraft
from blazechat.domain.schemas.integrations import ApiToken, Bot
from blazechat.errors import InsufficientScope, NotFound, TooManyBots, TooManyTokens, UsernameTaken
from blazechat.vocabulary import Scope

router = APIRouter(prefix="/api", tags=["Bots and tokens"], generate_unique_id_function=operation_id)

LOGIN_CALLER_ERRORS = (*problems.CALLER_ERRORS, InsufficientScope)

BotIdQuery = Annotated[int | None, Query(ge=1, le=MAX_ID, description="A bot of the caller.")]


class NewBot(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"username": "deploys", "display_name": "Deploys"}]}
    )

    username: Username
    display_name: DisplayName | None = None


class BotChange(BaseModel):
    username: Username | None = None
    display_name: DisplayName | None = None


class NewToken(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "the build server", "scope": "write", "bot_id": 7}]}
    )

    name: Annotated[Label, Field(description="The purpose of the token.")]
    scope: Literal[Scope.READ, Scope.WRITE, Scope.ADMIN] = Field(
        Scope.WRITE, description="Each scope includes those before it: `read`, `write`, `admin`."
    )
    chat_ids: list[BodyId] | None = Field(
        None,
        min_length=1,
        max_length=MAX_CHATS_PER_TOKEN,
        description="The only chats that the token gives access to; by default all chats of the account.",
    )
    days: int | None = Field(
        None, ge=1, le=3650, description="Days until it expires; by default it does not expire."
    )
    bot_id: BodyId | None = Field(
        None, description="A bot of the caller that the token acts as; by default the caller."
    )


@router.post(
    "/bots",
    summary="Create a bot",
    status_code=201,
    response_model=Bot,
    responses=problems.documented(*LOGIN_CALLER_ERRORS, UsernameTaken, TooManyBots),
)
async def create_bot(
    services: AppServices, session: Transaction, caller: LoginCaller, new: NewBot
) -> Response:
    """A bot is a user without a password, and a member of chats like other users. Create a token for it
    with `POST /api/tokens`."""
    bot = await services.bots.create(session, caller, **dict(new))
    return responses.json(bot, 201, location=f"/api/users/{bot.id}")


@router.get(
    "/bots",
    summary="List your bots",
    response_model=list[Bot],
    responses=problems.documented(*LOGIN_CALLER_ERRORS),
)
async def list_bots(services: AppServices, session: Transaction, caller: LoginCaller) -> Response:
    """Oldest first. A user has at most 100 bots."""
    return responses.json(await services.bots.listed(session, caller))


@router.put(
    "/bots/{bot_id}",
    summary="Rename a bot",
    response_model=Bot,
    responses=problems.documented(*LOGIN_CALLER_ERRORS, NotFound, UsernameTaken),
)
async def change_bot(
    services: AppServices, session: Transaction, caller: LoginCaller, bot_id: PathId, change: BotChange
) -> Response:
    """Changes the names of one of the caller's bots."""
    return responses.json(await services.bots.change(session, caller, bot_id, **dict(change)))


@router.delete(
    "/bots/{bot_id}",
    summary="Delete a bot",
    status_code=204,
    responses=problems.documented(*LOGIN_CALLER_ERRORS, NotFound),
)
async def delete_bot(
    services: AppServices, session: Transaction, caller: LoginCaller, bot_id: PathId
) -> Response:
    """Revokes its tokens and removes it from its groups. Its messages stay, under its name."""
    await services.bots.delete(session, caller, bot_id)
    return responses.no_content()


@router.post(
    "/tokens",
    summary="Create an API token",
    status_code=201,
    response_model=ApiToken,
    responses=problems.documented(*LOGIN_CALLER_ERRORS, NotFound, TooManyTokens),
)
async def create_token(session: Transaction, caller: LoginCaller, new: NewToken) -> Response:
    """For a program that acts as the caller, or as one of the caller's bots. Use `token` in place of an
    access token; only this response returns it. It cannot change the account, its sessions or its
    tokens."""
    draft = TokenDraft(new.name, new.scope, new.chat_ids, new.days)
    token = await api_tokens.create(session, caller, draft, bot_id=new.bot_id)
    return responses.json(token, 201, location=f"/api/tokens/{token.id}")


@router.get(
    "/tokens",
    summary="List API tokens",
    response_model=list[ApiToken],
    responses=problems.documented(*LOGIN_CALLER_ERRORS, NotFound),
)
async def list_tokens(session: Transaction, caller: LoginCaller, bot_id: BotIdQuery = None) -> Response:
    """The caller's tokens, or those of one of the caller's bots. Newest first. `last_used_at` is exact to
    the minute."""
    return responses.json(await api_tokens.listed(session, caller, bot_id))


@router.delete(
    "/tokens/{token_id}",
    summary="Revoke an API token",
    status_code=204,
    responses=problems.documented(*LOGIN_CALLER_ERRORS, NotFound),
)
async def revoke_token(session: Transaction, caller: LoginCaller, token_id: PathId) -> Response:
    """The token becomes invalid and its sockets are closed."""
    await api_tokens.revoke(session, caller, token_id)
    return responses.no_content()
