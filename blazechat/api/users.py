"""Users: finding them, and one's own account."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.auth import NAME_LIMIT, Email, Password, Username
from blazechat.api.dependencies import (
    LARGEST_ID,
    AllServices,
    AnyReadCaller,
    Id,
    KnownOwner,
    Limit,
    LoginCaller,
    Skip,
    Transaction,
    WriteCaller,
)
from blazechat.domain.auth import access, users
from blazechat.domain.schemas.users import Account, Presence, User
from blazechat.errors import EmailTaken, Forbidden, NotFound, TooManyAttempts, UsernameTaken, WrongPassword
from blazechat.vocabulary import Status

router = APIRouter(prefix="/api/users", tags=["Users"])


class AccountChange(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"display_name": "Alice"}]})

    username: Username | None = None
    email: Email | None = None
    display_name: str | None = Field(None, max_length=NAME_LIMIT)
    password: Password | None = None
    current_password: str | None = Field(None, max_length=NAME_LIMIT, description="needed with `password`")


class StatusChange(BaseModel):
    status: Status


@router.get(
    "",
    summary="List users",
    response_model=list[User],
    responses=problems.documented(*problems.SIGNED_IN),
)
async def list_users(
    request: Request,
    services: AllServices,
    session: Transaction,
    caller: AnyReadCaller,
    limit: Limit = 50,
    skip: Skip = 0,
    after: Annotated[int, Query(ge=0, le=LARGEST_ID, description="An id: users behind it.")] = 0,
    q: Annotated[str, Query(max_length=50, description="How the user name begins.")] = "",
) -> Response:
    """In the order of ids. The `Link` header leads to the next page."""
    listed = await users.listed(session, limit=limit + 1, skip=skip, after=after, prefix=q)
    found, more = responses.cut(listed, limit)
    following = {"after": found[-1].id} if more else None
    shown = [users.profile(user, services.presence.status_of) for user in found]
    return responses.json(shown, link=responses.link(request, next=following))


@router.get(
    "/{user_id:int}",
    summary="Show a user",
    response_model=Account | User,
    responses=problems.documented(*problems.SIGNED_IN, NotFound),
)
async def show_user(
    services: AllServices, session: Transaction, caller: AnyReadCaller, user_id: Id
) -> Response:
    """The e-mail address is in one's own only."""
    user = await users.shown(session, caller, user_id, services.presence.status_of)
    return responses.json(user)


@router.put(
    "/{user_id:int}",
    summary="Change one's account",
    response_model=Account,
    responses=problems.documented(
        *problems.SIGNED_IN,
        Forbidden,
        NotFound,
        WrongPassword,
        UsernameTaken,
        EmailTaken,
        TooManyAttempts,
    ),
)
async def change_user(
    services: AllServices, caller: KnownOwner, user_id: Id, change: AccountChange
) -> Response:
    """A new password needs the present one, and ends all other sessions."""
    access.require_self(caller, user_id)
    user = await services.accounts.change(caller, **change.model_dump())
    return responses.json(users.account(user, services.presence.status_of(user.id)))


@router.delete(
    "/{user_id:int}",
    summary="Delete one's account",
    status_code=204,
    responses=problems.documented(*problems.SIGNED_IN, Forbidden, NotFound),
)
async def delete_user(
    services: AllServices, session: Transaction, caller: LoginCaller, user_id: Id
) -> Response:
    """Name, e-mail and sessions are gone at once; what was said stays, by a "deleted user"."""
    access.require_self(caller, user_id)
    await services.accounts.delete(session, user_id)
    return responses.nothing()


@router.get(
    "/{user_id:int}/status",
    summary="Is somebody here",
    response_model=Presence,
    responses=problems.documented(*problems.SIGNED_IN, NotFound),
)
async def show_status(
    services: AllServices, session: Transaction, caller: AnyReadCaller, user_id: Id
) -> Response:
    """Online, away or offline, and when they were last seen."""
    user = await users.find(session, user_id)
    return responses.json(Presence(user.id, services.presence.status_of(user.id), user.last_seen))


@router.put(
    "/{user_id:int}/status",
    summary="Set one's status",
    response_model=Presence,
    responses=problems.documented(*problems.SIGNED_IN, Forbidden, NotFound),
)
async def set_status(
    services: AllServices, session: Transaction, caller: WriteCaller, user_id: Id, change: StatusChange
) -> Response:
    """Holds while a socket is open; without one, for five minutes."""
    access.require_self(caller, user_id)
    seen = await users.seen(session, [user_id])
    services.presence.choose(user_id, change.status, seen.get(user_id))
    return responses.json(Presence(user_id, services.presence.status_of(user_id), seen.get(user_id)))
