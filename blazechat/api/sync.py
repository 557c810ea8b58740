"""Where a client begins: everything at a glance, and the way onto a socket."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from blazechat.api import problems, responses
from blazechat.api.dependencies import (
    LARGEST_ID,
    AllServices,
    AnyReadCaller,
    AnywhereClaims,
    Id,
    ReadCaller,
    Skip,
    Transaction,
)
from blazechat.domain.auth import socket_tickets, users
from blazechat.domain.chats import changes
from blazechat.domain.chats.overview import overview
from blazechat.domain.schemas.chats import Overview
from blazechat.domain.schemas.users import Ticket

router = APIRouter(prefix="/api", tags=["Sync"])

CHATS_AT_ONCE = 1000


class ChangesPage(BaseModel):
    """Events as sockets have them, each with `type`, `chat_id` and `version`."""

    events: list[dict[str, Any]]
    version: int
    more: bool
    reset: bool


@router.get(
    "/sync",
    summary="All at a glance",
    response_model=Overview,
    responses=problems.documented(*problems.SIGNED_IN),
)
async def all_at_a_glance(
    request: Request,
    services: AllServices,
    session: Transaction,
    caller: AnyReadCaller,
    limit: Annotated[int, Query(ge=1, le=CHATS_AT_ONCE)] = CHATS_AT_ONCE,
    skip: Skip = 0,
) -> Response:
    """Who one is, and one's chats with versions, unread counts and last messages, the latest first. What it
    costs does not depend on how long the chats are. Of a group's members it shows the first few."""
    user = await users.find(session, caller.user_id)
    status_of = services.presence.status_of
    listed = await overview(session, caller, status_of, limit=limit + 1, skip=skip)
    found, more = responses.cut(listed, limit)
    account = users.account(user, status_of(user.id))
    link = responses.next_skip(request, more, limit, skip)
    return responses.json(Overview(account, list(found)), link=link)


@router.get(
    "/chats/{chat_id}/changes",
    summary="What changed in a chat",
    response_model=ChangesPage,
    responses=problems.documented(*problems.IN_CHAT),
    tags=["Chats"],
)
async def list_changes(
    services: AllServices,
    session: Transaction,
    caller: ReadCaller,
    chat_id: Id,
    after: Annotated[int, Query(ge=0, le=LARGEST_ID, description="The version that one knows.")],
) -> Response:
    """The events of docs/protocol.md that lead from a version to the present one: the present state of all
    that changed, in the order of versions. With `more`, ask again after `version`. With `reset` too much
    changed, or there never was such a version: load the chat anew."""
    limit = services.settings.resume_limit
    missed = await changes.missed(session, services.chats, caller, chat_id, after, limit)
    return responses.json(missed)


@router.post(
    "/auth/ticket",
    summary="Get a ticket for a socket",
    status_code=201,
    response_model=Ticket,
    responses=problems.documented(*problems.SIGNED_IN),
    tags=["Accounts and sessions"],
)
async def get_ticket(session: Transaction, caller: AnyReadCaller, claims: AnywhereClaims) -> Response:
    """Opens `/ws?ticket=…` once, within 30 seconds, so that no token is in a URL."""
    return responses.json(await socket_tickets.issue(session, caller, claims.expires_at), 201)
