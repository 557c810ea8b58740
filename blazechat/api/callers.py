"""The authenticated caller of a route. The type that a route names decides which tokens it accepts.

- `Read…`, `Write…`, `Admin…`: the token needs this scope. `Login…`: it must be an access token, because no
  API token has this scope.
- An API token for certain chats is accepted on the paths of these chats. `Any…` accepts it on every path:
  the domain call checks the chats, or the route touches none.
- `…Caller`: the session is checked in the request's transaction. `…CallerNoTransaction`: it is checked in a
  transaction that ends before the route runs, for domain calls that open their own transactions.
  `…Claims`: only the token is verified; the domain call checks the session.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from blazechat.api.dependencies import AppServices, Transaction
from blazechat.domain.auth import access
from blazechat.domain.auth.access_tokens import Claims
from blazechat.errors import Unauthenticated
from blazechat.vocabulary import Scope

CHAT_PATH_PARAMETERS = ("chat_id", "conversation_id")

_ClaimsDependency = Callable[..., Awaitable[Claims]]
_CallerDependency = Callable[..., Awaitable[access.Caller]]

_bearer = OAuth2PasswordBearer(tokenUrl="/api/auth/login", auto_error=False)


def _claims(scope: Scope, *, any_path: bool = False) -> _ClaimsDependency:
    """Return a dependency that verifies the token.

    It raises Unauthenticated, TokenExpired, InsufficientScope; NotFound on the path of another chat.
    `any_path` accepts a token for certain chats on every path.
    """

    async def claims(
        request: Request, services: AppServices, token: Annotated[str | None, Depends(_bearer)]
    ) -> Claims:
        if not token:
            raise Unauthenticated
        found = await services.credentials.claims_of(token)
        found.grant.require(scope)
        if found.grant.chat_ids is not None and not any_path:
            chat_id = next(filter(None, map(request.path_params.get, CHAT_PATH_PARAMETERS)), None)
            if chat_id is None:
                found.grant.require_all_chats()
            else:
                found.grant.require_chat(int(chat_id) if str(chat_id).isdecimal() else 0)
        return found

    return claims


def _caller(claims_dependency: _ClaimsDependency) -> _CallerDependency:
    """Return a dependency that checks the session in the request's transaction. It raises SessionEnded."""

    async def caller(
        session: Transaction, claims: Annotated[Claims, Depends(claims_dependency)]
    ) -> access.Caller:
        return await access.authenticate(session, claims)

    return caller


def _caller_no_transaction(claims_dependency: _ClaimsDependency) -> _CallerDependency:
    """Return a dependency that checks the session in a transaction that ends before the route runs."""

    async def caller(
        services: AppServices, claims: Annotated[Claims, Depends(claims_dependency)]
    ) -> access.Caller:
        async with services.database.transaction() as session:
            return await access.authenticate(session, claims)

    return caller


_read, _any_read = _claims(Scope.READ), _claims(Scope.READ, any_path=True)
_write, _any_write = _claims(Scope.WRITE), _claims(Scope.WRITE, any_path=True)
_admin, _login = _claims(Scope.ADMIN), _claims(Scope.LOGIN)

ReadClaims = Annotated[Claims, Depends(_read)]
AnyReadClaims = Annotated[Claims, Depends(_any_read)]
WriteClaims = Annotated[Claims, Depends(_write)]

ReadCaller = Annotated[access.Caller, Depends(_caller(_read))]
AnyReadCaller = Annotated[access.Caller, Depends(_caller(_any_read))]
WriteCaller = Annotated[access.Caller, Depends(_caller(_write))]
AdminCaller = Annotated[access.Caller, Depends(_caller(_admin))]
LoginCaller = Annotated[access.Caller, Depends(_caller(_login))]

WriteCallerNoTransaction = Annotated[access.Caller, Depends(_caller_no_transaction(_write))]
AnyWriteCallerNoTransaction = Annotated[access.Caller, Depends(_caller_no_transaction(_any_write))]
AdminCallerNoTransaction = Annotated[access.Caller, Depends(_caller_no_transaction(_admin))]
LoginCallerNoTransaction = Annotated[access.Caller, Depends(_caller_no_transaction(_login))]
