"""Invitations, for servers where registration is by invitation. Administrators only."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from blazechat.api import problems, responses
from blazechat.api.dependencies import AdminCaller, AnyId, Id, Limit, Transaction
from blazechat.domain.accounts import invitations
from blazechat.domain.schemas.users import Invitation
from blazechat.errors import Forbidden, NotFound

router = APIRouter(prefix="/api/invitations", tags=["Invitations"])


class NewInvitation(BaseModel):
    days: Annotated[int, Field(ge=1, le=365, description="after which it expires")] = 7


@router.post(
    "",
    summary="Invite somebody",
    status_code=201,
    response_model=Invitation,
    responses=problems.documented(*problems.SIGNED_IN, Forbidden),
)
async def create_invitation(session: Transaction, caller: AdminCaller, new: NewInvitation) -> Response:
    """The `code` is told this once; it lets one person register."""
    made = await invitations.create(session, caller, new.days)
    return responses.json(made, 201, location=f"/api/invitations/{made.id}")


@router.get(
    "",
    summary="List invitations",
    response_model=list[Invitation],
    responses=problems.documented(*problems.SIGNED_IN, Forbidden),
)
async def list_invitations(
    request: Request,
    session: Transaction,
    caller: AdminCaller,
    limit: Limit = 50,
    before: AnyId | None = None,
) -> Response:
    """The newest first, without their codes."""
    listed = await invitations.listed(session, caller, limit=limit + 1, before=before)
    found, more = responses.cut(listed, limit)
    following = {"before": found[-1].id} if more else None
    return responses.json(found, link=responses.link(request, next=following))


@router.delete(
    "/{invitation_id}",
    summary="Take back an invitation",
    status_code=204,
    responses=problems.documented(*problems.SIGNED_IN, Forbidden, NotFound),
)
async def revoke_invitation(session: Transaction, caller: AdminCaller, invitation_id: Id) -> Response:
    """One that nobody has used yet."""
    await invitations.revoke(session, caller, invitation_id)
    return responses.nothing()
