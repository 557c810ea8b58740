"""Routes that a client starts with: its account and chats, changes that it missed, a ticket for a
socket."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from blazechat.api import problems, responses
from blazechat.api.callers import AnyReadCaller, AnyReadClaims, ReadClaims
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import MAX_ID, PathId, Skip
from blazechat.api.openapi import operation_id
from blazechat.domain.auth import socket_tickets, users
from blazechat.domain.chats.overview import overview
from blazechat.domain.schemas.chats import Overview
from blazechat.domain.schemas.users import Ticket

router = APIRouter(prefix="/api", tags=["Sync"], generate_unique_id_function=operation_id)

MAX_CHATS = 1000
"""Chats in one overview."""


class ChangesPage(BaseModel):
    """Events as on sockets, each with `type`, `chat_id` and `version`."""

    events: list[dict[str, Any]]
    version: int
    more: bool
    reset: bool


@router.get(
    "/sync",
    summary="Get an overview of your chats",
    response_model=Overview,
    responses=problems.documented(*problems.CALLER_ERRORS),
)
async def get_overview(
    request: Request,
    services: AppServices,
    session: Transaction,
    caller: AnyReadCaller,
    limit: Annotated[int, Query(ge=1, le=MAX_CHATS)] = MAX_CHATS,
    skip: Skip = 0,
) -> Response:
    """Returns the caller's account and chats, with versions, unread counts and last messages. The chats
    with the latest messages come first; a group has only its first members. The cost does not depend on the
    number of messages."""
    user = await users.find(session, caller.user_id)
    status_of = services.presence.status_of
    found = await overview(session, caller, status_of, limit=limit + 1, skip=skip)
    chats, has_more = responses.page_of(found, limit)
    account = users.account_of(user, status_of(user.id))
    link = responses.skip_link(request, has_more, limit, skip)
    return responses.json(Overview(account, list(chats)), link=link)


@router.get(
    "/chats/{chat_id}/changes",
    summary="Get the changes of a chat",
    response_model=ChangesPage,
    responses=problems.documented(*problems.CHAT_ERRORS),
    tags=["Chats"],
)
async def list_changes(
    services: AppServices,
    claims: ReadClaims,
    chat_id: PathId,
    after: Annotated[int, Query(ge=0, le=MAX_ID, description="The version that the client has.")],
) -> Response:
    """Returns the events (docs/protocol.md) that lead from a version of the chat to the present one: the
    present state of all that changed, in the order of versions. With `more`, request the next page after
    `version`. With `reset`, too much has changed or the version never existed: load the chat again."""
    limit = services.settings.resume_limit
    missed = await services.changes_reader.missed(claims, chat_id, after=after, limit=limit)
    return responses.json(missed)


@router.post(
    "/auth/ticket",
    summary="Get a socket ticket",
    status_code=201,
    response_model=Ticket,
    responses=problems.documented(*problems.CALLER_ERRORS),
    tags=["Accounts and sessions"],
)
async def get_socket_ticket(session: Transaction, caller: AnyReadCaller, claims: AnyReadClaims) -> Response:
    """Opens `/ws?ticket=…` once, within 30 seconds. It keeps access tokens out of URLs."""
    return responses.json(await socket_tickets.issue(session, caller, claims.expires_at), 201)
