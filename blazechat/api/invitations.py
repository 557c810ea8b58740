"""Routes of invitations, for servers where registration needs one. For administrators."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from blazechat.api import problems, responses
from blazechat.api.callers import AdminCaller
from blazechat.api.dependencies import Transaction
from blazechat.api.fields import Limit, PathId, QueryId
from blazechat.api.openapi import operation_id
from blazechat.domain.accounts import invitations
from blazechat.domain.schemas.users import Invitation
from blazechat.errors import Forbidden, NotFound

router = APIRouter(
    prefix="/api/invitations", tags=["Invitations"], generate_unique_id_function=operation_id
)


class NewInvitation(BaseModel):
    days: Annotated[int, Field(ge=1, le=365, description="Days until it expires.")] = 7


@router.post(
    "",
    summary="Create an invitation",
    status_code=201,
    response_model=Invitation,
    responses=problems.documented(*problems.CALLER_ERRORS, Forbidden),
)
async def create_invitation(session: Transaction, caller: AdminCaller, new: NewInvitation) -> Response:
    """For administrators. One person can register with the `code`. Only this response returns it."""
    invitation = await invitations.create(session, caller, new.days)
    return responses.json(invitation, 201, location=f"/api/invitations/{invitation.id}")


@router.get(
    "",
    summary="List invitations",
    response_model=list[Invitation],
    responses=problems.documented(*problems.CALLER_ERRORS, Forbidden),
)
async def list_invitations(
    request: Request,
    session: Transaction,
    caller: AdminCaller,
    limit: Limit = 50,
    before: QueryId | None = None,
) -> Response:
    """For administrators. Newest first, without codes."""
    found = await invitations.listed(session, caller, limit=limit + 1, before=before)
    return responses.keyset_page(request, found, limit, cursor="before")


@router.delete(
    "/{invitation_id}",
    summary="Revoke an invitation",
    status_code=204,
    responses=problems.documented(*problems.CALLER_ERRORS, Forbidden, NotFound),
)
async def revoke_invitation(session: Transaction, caller: AdminCaller, invitation_id: PathId) -> Response:
    """For administrators. The invitation must be unused."""
    await invitations.revoke(session, caller, invitation_id)
    return responses.no_content()
