"""Routes of users: the directory, profiles, online status, and changes of the caller's own account."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.callers import AnyReadCaller, LoginCaller, LoginCallerNoTransaction, WriteCaller
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import (
from blazechat.api.openapi import operation_id
    MAX_FIELD_CHARACTERS,
    AfterUserId,
    Email,
    Limit,
    Password,
    PathId,
    Skip,
    Username,
)
from blazechat.domain.accounts.accounts import AccountUpdate
from blazechat.domain.auth import access, users
from blazechat.domain.schemas.users import Account, Presence, User
from blazechat.errors import EmailTaken, Forbidden, NotFound, TooManyAttempts, UsernameTaken, WrongPassword
from blazechat.vocabulary import Status

router = APIRouter(prefix="/api/users", tags=["Users"], generate_unique_id_function=operation_id)


class AccountChange(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"display_name": "Alice"}]})

    username: Username | None = None
    email: Email | None = None
    display_name: str | None = Field(None, max_length=MAX_FIELD_CHARACTERS)
    password: Password | None = None
    current_password: str | None = Field(
        None, max_length=MAX_FIELD_CHARACTERS, description="Required with `password`."
    )


class StatusChange(BaseModel):
    status: Status


@router.get(
    "",
    summary="List users",
    response_model=list[User],
    responses=problems.documented(*problems.CALLER_ERRORS),
)
async def list_users(
    request: Request,
    services: AppServices,
    session: Transaction,
    caller: AnyReadCaller,
    limit: Limit = 50,
    skip: Skip = 0,
    after: AfterUserId = 0,
    q: Annotated[str, Query(max_length=50, description="The beginning of the user name.")] = "",
) -> Response:
    """In the order of ids. The `Link` header has the next page."""
    found = await users.listed(session, limit=limit + 1, skip=skip, after=after, prefix=q)
    profiles = [users.profile_of(user, services.presence.status_of) for user in found]
    return responses.keyset_page(request, profiles, limit, cursor="after")


@router.get(
    "/{user_id:int}",
    summary="Get a user",
    response_model=Account | User,
    responses=problems.documented(*problems.CALLER_ERRORS, NotFound),
)
async def get_user(
    services: AppServices, session: Transaction, caller: AnyReadCaller, user_id: PathId
) -> Response:
    """Only the caller's own user has the e-mail address."""
    user = await users.profile_for(session, caller, user_id, services.presence.status_of)
    return responses.json(user)


@router.put(
    "/{user_id:int}",
    summary="Change your account",
    response_model=Account,
    responses=problems.documented(
        *problems.CALLER_ERRORS,
        Forbidden,
        NotFound,
        WrongPassword,
        UsernameTaken,
        EmailTaken,
        TooManyAttempts,
    ),
)
async def change_user(
    services: AppServices, caller: LoginCallerNoTransaction, user_id: PathId, change: AccountChange
) -> Response:
    """A new password requires the current one, and ends all other sessions."""
    access.require_self(caller, user_id)
    user = await services.accounts.change(caller, AccountUpdate(**change.model_dump()))
    return responses.json(users.account_of(user, services.presence.status_of(user.id)))


@router.delete(
    "/{user_id:int}",
    summary="Delete your account",
    status_code=204,
    responses=problems.documented(*problems.CALLER_ERRORS, Forbidden, NotFound),
)
async def delete_user(
    services: AppServices, session: Transaction, caller: LoginCaller, user_id: PathId
) -> Response:
    """Deletes the names, the e-mail address and all sessions. The messages stay; their author is "deleted
    user"."""
    access.require_self(caller, user_id)
    await services.accounts.delete(session, user_id)
    return responses.no_content()


@router.get(
    "/{user_id:int}/status",
    summary="Get a user's online status",
    response_model=Presence,
    responses=problems.documented(*problems.CALLER_ERRORS, NotFound),
)
async def get_status(
    services: AppServices, session: Transaction, caller: AnyReadCaller, user_id: PathId
) -> Response:
    """Returns `online`, `away` or `offline`, and when the user was last seen."""
    user = await users.find(session, user_id)
    return responses.json(Presence(user.id, services.presence.status_of(user.id), user.last_seen))


@router.put(
    "/{user_id:int}/status",
    summary="Set your online status",
    response_model=Presence,
    responses=problems.documented(*problems.CALLER_ERRORS, Forbidden, NotFound),
)
async def set_status(
    services: AppServices, session: Transaction, caller: WriteCaller, user_id: PathId, change: StatusChange
) -> Response:
    """The status lasts while the user has an open socket; without one, five minutes."""
    access.require_self(caller, user_id)
    last_seen = (await users.record_last_seen(session, [user_id])).get(user_id)
    services.presence.choose(user_id, change.status, last_seen)
    return responses.json(Presence(user_id, services.presence.status_of(user_id), last_seen))
