"""Bots, and the API tokens of programs."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.auth import NAME_LIMIT, Username
from blazechat.api.dependencies import LARGEST_ID, AllServices, Id, LoginCaller, Transaction
from blazechat.domain.accounts import api_tokens
from blazechat.domain.accounts.api_tokens import CHATS_LIMIT
from blazechat.domain.schemas.integrations import ApiToken, Bot
from blazechat.errors import InsufficientScope, NotFound, TooManyBots, TooManyTokens, UsernameTaken
from blazechat.vocabulary import Scope

router = APIRouter(prefix="/api", tags=["Bots and tokens"])

ChatId = Annotated[int, Field(ge=1, le=LARGEST_ID)]
LOGGED_IN = (*problems.SIGNED_IN, InsufficientScope)


class NewBot(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"username": "deploys", "display_name": "Deploys"}]}
    )

    username: Username
    display_name: str | None = Field(None, max_length=NAME_LIMIT)


class BotChange(BaseModel):
    username: Username | None = None
    display_name: str | None = Field(None, max_length=NAME_LIMIT)


class NewToken(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "the build server", "scope": "write", "bot_id": 7}]}
    )

    name: Annotated[str, Field(max_length=NAME_LIMIT, description="what it is for")]
    scope: Literal[Scope.READ, Scope.WRITE, Scope.ADMIN] = Field(
        Scope.WRITE, description="each includes those before it: `read`, `write`, `admin`"
    )
    chat_ids: list[ChatId] | None = Field(
        None, min_length=1, max_length=CHATS_LIMIT, description="good for these chats only"
    )
    days: int | None = Field(None, ge=1, le=3650, description="without it, good until it is revoked")
    bot_id: ChatId | None = Field(None, description="a bot of one's own; without it, one's own account")


OfBot = Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="A bot of one's own.")]


@router.post(
    "/bots",
    summary="Create a bot",
    status_code=201,
    response_model=Bot,
    responses=problems.documented(*LOGGED_IN, UsernameTaken, TooManyBots),
)
async def create_bot(
    services: AllServices, session: Transaction, caller: LoginCaller, new: NewBot
) -> Response:
    """A user without a password, who is in chats like others. Make it a token with `POST /api/tokens`."""
    made = await services.bots.create(session, caller, **dict(new))
    return responses.json(made, 201, location=f"/api/users/{made.id}")


@router.get(
    "/bots",
    summary="List one's bots",
    response_model=list[Bot],
    responses=problems.documented(*LOGGED_IN),
)
async def list_bots(services: AllServices, session: Transaction, caller: LoginCaller) -> Response:
    """The oldest first; one has at most a hundred."""
    return responses.json(await services.bots.listed(session, caller))


@router.put(
    "/bots/{bot_id}",
    summary="Rename a bot",
    response_model=Bot,
    responses=problems.documented(*LOGGED_IN, NotFound, UsernameTaken),
)
async def change_bot(
    services: AllServices, session: Transaction, caller: LoginCaller, bot_id: Id, change: BotChange
) -> Response:
    """One of one's own."""
    return responses.json(await services.bots.change(session, caller, bot_id, **dict(change)))


@router.delete(
    "/bots/{bot_id}",
    summary="Delete a bot",
    status_code=204,
    responses=problems.documented(*LOGGED_IN, NotFound),
)
async def delete_bot(
    services: AllServices, session: Transaction, caller: LoginCaller, bot_id: Id
) -> Response:
    """Its tokens end and it leaves its groups; what it said stays, under its name."""
    await services.bots.delete(session, caller, bot_id)
    return responses.nothing()


@router.post(
    "/tokens",
    summary="Make an API token",
    status_code=201,
    response_model=ApiToken,
    responses=problems.documented(*LOGGED_IN, NotFound, TooManyTokens),
)
async def create_token(session: Transaction, caller: LoginCaller, new: NewToken) -> Response:
    """For a program that acts as a bot of one's own, or as oneself. The `token` is told this once; it goes
    where an access token goes, and cannot change the account, its sessions or its tokens."""
    made = await api_tokens.create(session, caller, **dict(new))
    return responses.json(made, 201, location=f"/api/tokens/{made.id}")


@router.get(
    "/tokens",
    summary="List API tokens",
    response_model=list[ApiToken],
    responses=problems.documented(*LOGGED_IN, NotFound),
)
async def list_tokens(session: Transaction, caller: LoginCaller, bot_id: OfBot = None) -> Response:
    """One's own, or those of a bot of one's own: the newest first, with their last use (to the minute)."""
    return responses.json(await api_tokens.listed(session, caller, bot_id))


@router.delete(
    "/tokens/{token_id}",
    summary="Revoke an API token",
    status_code=204,
    responses=problems.documented(*LOGGED_IN, NotFound),
)
async def revoke_token(session: Transaction, caller: LoginCaller, token_id: Id) -> Response:
    """It is worth nothing from now on, and its sockets are closed."""
    await api_tokens.revoke(session, caller, token_id)
    return responses.nothing()
