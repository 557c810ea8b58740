"""Where a client begins: everything at a glance, and the way onto a socket."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from blazechat.api import answers, problems
from blazechat.api.parts import AllParts, Caller, Claims, Skip, Transaction
from blazechat.domain import tickets, users
from blazechat.domain.shapes import Overview, Ticket

router = APIRouter(prefix="/api", tags=["Sync"])

CHATS_AT_ONCE = 1000


@router.get(
    "/sync",
    summary="All at a glance",
    response_model=Overview,
    responses=problems.documented(*problems.SIGNED_IN),
)
async def overview(
    request: Request,
    parts: AllParts,
    session: Transaction,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=CHATS_AT_ONCE)] = CHATS_AT_ONCE,
    skip: Skip = 0,
) -> Response:
    """Who one is, and one's chats with versions, unread counts and last messages, the latest first. What it
    costs does not depend on how long the chats are. Of a group's members it shows the first few."""
    user = await users.find(session, caller.user_id)
    listed = await parts.chats.overview(session, caller, limit=limit + 1, skip=skip)
    found, more = answers.cut(listed, limit)
    account = users.account(user, parts.presence.status_of(user.id))
    link = answers.next_skip(request, more, limit, skip)
    return answers.json(Overview(account, list(found)), link=link)


@router.post(
    "/auth/ticket",
    summary="Get a ticket for a socket",
    status_code=201,
    response_model=Ticket,
    responses=problems.documented(*problems.SIGNED_IN),
    tags=["Accounts and sessions"],
)
async def get_ticket(session: Transaction, caller: Caller, claims: Claims) -> Response:
    """Opens `/ws?ticket=…` once, within 30 seconds, so that no token is in a URL."""
    return answers.json(await tickets.issue(session, caller, claims.expires_at), 201)
