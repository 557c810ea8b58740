"""Route of the server's information: what a client has to know before it logs in."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from blazechat.api import problems, responses
from blazechat.api.dependencies import AppServices, BaseUrl
from blazechat.api.openapi import operation_id

router = APIRouter(tags=["Health"], generate_unique_id_function=operation_id)


class ServerInfo(BaseModel):
    url: str = Field(description="The server's public address, or the one that this request used.")
    registration: Literal["open", "invitation", "closed"] = Field(
        description="Who may register: everyone, holders of an invitation, or no one."
    )
    directory: Literal["everyone", "shared_chats", "nobody"] = Field(
        description="Whom `GET /api/users` lists."
    )


@router.get(
    "/api/server",
    summary="Get the server's address and rules",
    response_model=ServerInfo,
    responses=problems.documented(),
)
async def get_server_info(services: AppServices, base_url: BaseUrl) -> Response:
    """Without a login. A client shows who may register, and whom its user can find."""
    settings = services.settings
    return responses.json(
        {"url": base_url, "registration": settings.registration, "directory": settings.directory}
    )
