"""Routes of accounts and sessions: register, log in, refresh, log out."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Form, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.callers import AnyReadCaller, LoginCaller
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import (
    MAX_FIELD_CHARACTERS,
    SERVICE_CHECKS,
    Email,
    NewPassword,
    PathId,
    Username,
)
from blazechat.api.openapi import operation_id
from blazechat.domain.auth import access, sessions, users
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

router = APIRouter(prefix="/api", tags=["Accounts and sessions"], generate_unique_id_function=operation_id)

REGISTRATION_ERRORS = (UsernameTaken, EmailTaken, RegistrationClosed, InvitationInvalid)
LOGIN_ERRORS = (WrongCredentials, TooManyAttempts)


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
    password: NewPassword
    invitation: str | None = Field(
        None,
        max_length=MAX_FIELD_CHARACTERS,
        description="The code of an invitation, on servers where registration needs one.",
    )


class Credentials(BaseModel):
    """A form."""

    username: str = Field(
        max_length=MAX_FIELD_CHARACTERS, description="The user name or the e-mail address."
    )
    password: str = Field(max_length=MAX_FIELD_CHARACTERS)


class Refresh(BaseModel):
    refresh_token: str | None = Field(None, max_length=MAX_FIELD_CHARACTERS)


@router.post(
    "/auth/register",
    summary="Create an account",
    status_code=201,
    response_model=Account,
    dependencies=SERVICE_CHECKS,
    responses=problems.documented(*REGISTRATION_ERRORS),
)
async def register(services: AppServices, new: Registration) -> Response:
    """The first account of a server becomes its administrator."""
    account = await services.accounts.register(new.username, new.email, new.password, new.invitation)
    return responses.json(account, 201, location=f"/api/users/{account.id}")


@router.post(
    "/auth/login",
    summary="Log in",
    response_model=Tokens,
    responses=problems.documented(*LOGIN_ERRORS),
)
@router.post(
    "/token",
    operation_id="get_access_token",
    summary="Log in (conversations API)",
    response_model=Tokens,
    responses=problems.documented(*LOGIN_ERRORS),
    tags=["Conversations API"],
)
async def log_in(
    request: Request,
    services: AppServices,
    given: Annotated[Credentials, Form()],
) -> Response:
    """Returns an access token, and a refresh token for the next access token."""
    device = request.headers.get("user-agent", "unknown")
    address = request.client.host if request.client else "unknown"
    return responses.json(
        await services.accounts.log_in(given.username, given.password, device=device, address=address)
    )


async def _refreshed(
    request: Request, services: AppServices, body: Annotated[Refresh | None, Body()] = None
) -> Tokens | AccessToken:
    if body is not None and body.refresh_token is not None:
        return await services.sessions.refresh(services.database, body.refresh_token)
    return await _renewed(request, services)


async def _renewed(request: Request, services: AppServices) -> AccessToken:
    """Return another access token of the session that the `Authorization` header has."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("Send a refresh token, or an access token that is still valid.")
    async with services.database.transaction() as session:
        claims = await services.credentials.claims_of(token.strip())
        claims.grant.require(Scope.LOGIN)
        caller = await access.authenticate(session, claims)
    return services.sessions.renew_access_token(caller.user_id, caller.session_id)


@router.post(
    "/auth/refresh",
    summary="Get new tokens",
    response_model=Tokens | AccessToken,
    responses=problems.documented(RefreshTokenInvalid, Unauthenticated),
)
async def refresh_tokens(tokens: Annotated[Tokens | AccessToken, Depends(_refreshed)]) -> Response:
    """A refresh token can be used once; using it again ends its session. With an access token and no body,
    the response has another access token of the same session."""
    return responses.json(tokens)


@router.get(
    "/auth/me",
    summary="Get your account",
    response_model=Account,
    responses=problems.documented(*problems.CALLER_ERRORS),
)
@router.get(
    "/users/me",
    operation_id="get_me",
    summary="Get your account",
    response_model=Account,
    responses=problems.documented(*problems.CALLER_ERRORS),
    tags=["Users"],
)
async def get_my_account(services: AppServices, session: Transaction, caller: AnyReadCaller) -> Response:
    """Returns the caller's account, with the e-mail address."""
    user = await users.find(session, caller.user_id)
    return responses.json(users.account_of(user, services.presence.status_of(user.id)))


@router.post(
    "/auth/logout",
    summary="Log out",
    status_code=204,
    responses=problems.documented(*problems.CALLER_ERRORS),
)
async def log_out(session: Transaction, caller: LoginCaller) -> Response:
    """Ends this session: its tokens become invalid and its sockets are closed."""
    await sessions.end(session, caller.user_id, [caller.session_id])
    return responses.no_content()


@router.post(
    "/auth/logout-all",
    summary="Log out everywhere",
    status_code=204,
    responses=problems.documented(*problems.CALLER_ERRORS),
)
async def log_out_everywhere(session: Transaction, caller: LoginCaller) -> Response:
    """Ends all sessions of the caller, including this one. API tokens stay valid."""
    await sessions.end_all(session, caller.user_id)
    return responses.no_content()


@router.get(
    "/auth/sessions",
    summary="List your sessions",
    response_model=list[Session],
    responses=problems.documented(*problems.CALLER_ERRORS),
)
async def list_sessions(session: Transaction, caller: LoginCaller) -> Response:
    """Each session is one device. `last_used_at` is exact to the minute."""
    return responses.json(await sessions.listed(session, caller.user_id, caller.session_id))


@router.delete(
    "/auth/sessions/{session_id}",
    summary="End a session",
    status_code=204,
    responses=problems.documented(*problems.CALLER_ERRORS, NotFound),
)
async def end_session(session: Transaction, caller: LoginCaller, session_id: PathId) -> Response:
    """Logs out one of the caller's devices."""
    await sessions.end(session, caller.user_id, [session_id])
    return responses.no_content()
