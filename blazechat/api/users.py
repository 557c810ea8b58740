"""Routes of users: the directory, profiles, online status, and changes of the caller's own account."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.callers import AnyReadCaller, LoginCaller, LoginCallerNoTransaction, WriteCaller
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import (
    MAX_FIELD_CHARACTERS,
    AfterUserId,
    DisplayName,
    Email,
    Limit,
    Password,
    PathId,
    Skip,
    Username,
)
from blazechat.api.openapi import operation_id
from blazechat.domain.accounts.accounts import AccountUpdate
from blazechat.domain.accounts.directory import DirectoryPage
from blazechat.domain.auth import access, users
from blazechat.domain.schemas.users import Account, Presence, User
from blazechat.errors import EmailTaken, Forbidden, NotFound, TooManyAttempts, UsernameTaken, WrongPassword
from blazechat.vocabulary import Status

router = APIRouter(prefix="/api/users", tags=["Users"], generate_unique_id_function=operation_id)

MAX_SEARCH_CHARACTERS = 50


class AccountChange(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"display_name": "Alice"}]})

    username: Username | None = None
    email: Email | None = None
    display_name: DisplayName | None = None
    password: Password | None = None
    current_password: str | None = Field(
        None, max_length=MAX_FIELD_CHARACTERS, description="Required with a new `password`."
    )


class StatusChange(BaseModel):
    status: Status


Search = Annotated[
    str,
    Query(
        max_length=MAX_SEARCH_CHARACTERS,
        description="The beginning of the user name, or of words of the display name.",
    ),
]
ExactName = Annotated[
    str,
    Query(
        max_length=MAX_SEARCH_CHARACTERS,
        description="The whole user name, in any case. It finds users that are not listed, too.",
    ),
]


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
    q: Search = "",
    username: ExactName = "",
) -> Response:
    """In the order of ids. The `Link` header has the next page. Which users are listed depends on the
    setting `BLAZECHAT_DIRECTORY`."""
    page = DirectoryPage(limit=limit + 1, skip=skip, after=after, search=q, username=username)
    found = await services.directory.listed(session, caller, page)
    return responses.keyset_page(request, found, limit, cursor="after")


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
    return responses.json(await services.directory.profile(session, caller, user_id))


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
    """A new password needs the current one as `current_password`, and ends all other sessions. The current
    one as `password` changes nothing."""
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
    return responses.json(await services.directory.presence(session, caller, user_id))


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
