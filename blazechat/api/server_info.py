"""Route of the server's information: what a client has to know before it logs in."""

from fastapi import APIRouter, Response

from blazechat.api import problems, responses
from blazechat.api.dependencies import AppServices, BaseUrl
from blazechat.api.openapi import operation_id
from blazechat.domain.schemas.users import ServerInfo
from blazechat.vocabulary import DirectoryScope, RegistrationPolicy

router = APIRouter(tags=["Health"], generate_unique_id_function=operation_id)


@router.get(
    "/api/server",
    summary="Get the server's address and rules",
    response_model=ServerInfo,
    responses=problems.documented(),
)
async def get_server_info(services: AppServices, base_url: BaseUrl) -> Response:
    """Without a login: who may register, and whom a user can list. `url` is the configured public address,
    or the one that this request used."""
    settings = services.settings
    return responses.json(
        ServerInfo(base_url, RegistrationPolicy(settings.registration), DirectoryScope(settings.directory))
    )
