"""Registering, logging in and out, and one's sessions."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Form, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.dependencies import AllServices, AnyReadCaller, Id, LoginCaller, Transaction
from blazechat.domain.auth import access, sessions, users
from blazechat.domain.auth.passwords import BCRYPT_LIMIT
from blazechat.domain.schemas.users import AccessToken, Account, Session, Tokens
from blazechat.errors import (
    EmailTaken,
    InvitationInvalid,
    NotFound,
    RefreshTokenInvalid,
    RegistrationClosed,
    TooManyAttempts,
    Unauthenticated,
    UsernameTaken,
    WrongCredentials,
)
from blazechat.vocabulary import Scope

router = APIRouter(prefix="/api", tags=["Accounts and sessions"])

NAME_LIMIT = 400
"""Characters of any name or password that is looked at more closely."""


# What the document says here is checked in domain/texts.py and domain/passwords.py, which say more.
Username = Annotated[
    str,
    Field(
        max_length=NAME_LIMIT,
        description="letters and digits of any script, `_`, and within it `.` and `-`",
        json_schema_extra={"maxLength": 50, "pattern": r"^\w([\w.\-]*\w)?$"},
    ),
]
Email = Annotated[str, Field(max_length=NAME_LIMIT, json_schema_extra={"format": "email"})]
Password = Annotated[
    str,
    Field(
        max_length=NAME_LIMIT,
        description="at most 72 bytes in UTF-8",
        json_schema_extra={"minLength": 1, "maxLength": BCRYPT_LIMIT},
    ),
]


class Registration(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "username": "alice",
                    "email": "alice@example.com",
                    "password": "correct horse battery",
                }
            ]
        }
    )

    username: Username
    email: Email
    password: Password
    invitation: str | None = Field(
        None, max_length=NAME_LIMIT, description="where registration is by invitation"
    )


class Refresh(BaseModel):
    refresh_token: str | None = Field(None, max_length=NAME_LIMIT)


REGISTRATION_ERRORS = (
    UsernameTaken,
    EmailTaken,
    RegistrationClosed,
    InvitationInvalid,
)


@router.post(
    "/auth/register",
    summary="Create an account",
    status_code=201,
    response_model=Account,
    responses=problems.documented(*REGISTRATION_ERRORS),
)
async def register(services: AllServices, new: Registration) -> Response:
    """The first account of a server becomes its administrator."""
    account = await services.accounts.register(new.username, new.email, new.password, new.invitation)
    return responses.json(account, 201, location=f"/api/users/{account.id}")


@router.post(
    "/auth/login",
    summary="Log in",
    response_model=Tokens,
    responses=problems.documented(WrongCredentials, TooManyAttempts),
)
@router.post(
    "/token",
    summary="Log in (BlazeChat's path)",
    response_model=Tokens,
    responses=problems.documented(WrongCredentials, TooManyAttempts),
    tags=["BlazeChat's dialect"],
)
async def log_in(
    request: Request,
    services: AllServices,
    username: Annotated[str, Form(max_length=NAME_LIMIT, description="or the e-mail address")],
    password: Annotated[str, Form(max_length=NAME_LIMIT)],
) -> Response:
    """An access token, and a refresh token to get the next one with."""
    device = request.headers.get("user-agent", "unknown")
    address = request.client.host if request.client else "unknown"
    return responses.json(
        await services.accounts.log_in(username, password, device=device, address=address)
    )


async def _refreshing(
    request: Request, services: AllServices, body: Annotated[Refresh | None, Body()] = None
) -> Tokens | AccessToken:
    """New tokens for the refresh token in the body; without a body, for the bearer's session."""
    if body is not None and body.refresh_token is not None:
        return await services.sessions.refresh(services.database, body.refresh_token)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("Send a refresh token, or an access token that is still good.")
    async with services.database.transaction() as session:
        claims = await services.credentials.claims_of(token.strip())
        claims.grant.require(Scope.LOGIN)
        caller = await access.caller(session, claims)
    return services.sessions.renew(caller.user_id, caller.session_id)


@router.post(
    "/auth/refresh",
    summary="Get new tokens",
    response_model=Tokens | AccessToken,
    responses=problems.documented(RefreshTokenInvalid, Unauthenticated),
)
async def refresh(tokens: Annotated[Tokens | AccessToken, Depends(_refreshing)]) -> Response:
    """A refresh token is good once; using one twice ends its session. With an access token and no
    body, another access token of the same session."""
    return responses.json(tokens)


@router.get(
    "/auth/me",
    summary="Who am I",
    response_model=Account,
    responses=problems.documented(*problems.SIGNED_IN),
)
@router.get(
    "/users/me",
    summary="Who am I",
    response_model=Account,
    responses=problems.documented(*problems.SIGNED_IN),
    tags=["Users"],
)
async def me(services: AllServices, session: Transaction, caller: AnyReadCaller) -> Response:
    """One's own account."""
    user = await users.find(session, caller.user_id)
    return responses.json(users.account(user, services.presence.status_of(user.id)))


@router.post(
    "/auth/logout",
    summary="Log out",
    status_code=204,
    responses=problems.documented(*problems.SIGNED_IN),
)
async def log_out(session: Transaction, caller: LoginCaller) -> Response:
    """End this session: its tokens are worth nothing from now on, and its sockets are closed."""
    await sessions.end(session, caller.user_id, [caller.session_id])
    return responses.nothing()


@router.post(
    "/auth/logout-all",
    summary="Log out everywhere",
    status_code=204,
    responses=problems.documented(*problems.SIGNED_IN),
)
async def log_out_everywhere(session: Transaction, caller: LoginCaller) -> Response:
    """End all of one's sessions, this one too."""
    await sessions.end_all(session, caller.user_id)
    return responses.nothing()


@router.get(
    "/auth/sessions",
    summary="List one's sessions",
    response_model=list[Session],
    responses=problems.documented(*problems.SIGNED_IN),
)
async def list_sessions(session: Transaction, caller: LoginCaller) -> Response:
    """Every device that is logged in, and when it was last used (to the minute)."""
    return responses.json(await sessions.listed(session, caller.user_id, caller.session_id))


@router.delete(
    "/auth/sessions/{session_id}",
    summary="End a session",
    status_code=204,
    responses=problems.documented(*problems.SIGNED_IN, NotFound),
)
async def end_session(session: Transaction, caller: LoginCaller, session_id: Id) -> Response:
    """Log out another device of one's own."""
    await sessions.end(session, caller.user_id, [session_id])
    return responses.nothing()
