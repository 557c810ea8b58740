"""Health checks for load balancers and supervisors: liveness and readiness."""

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import text

from blazechat.api import problems, responses
from blazechat.api.dependencies import AppServices
from blazechat.errors import Unavailable

router = APIRouter(tags=["Health"])

DATABASE_TIMEOUT_SECONDS = 2.0


class Health(BaseModel):
    status: str


@router.get("/healthz", summary="Liveness", response_model=Health, responses=problems.documented())
async def alive() -> Response:
    """The process responds. If something else fails, a restart does not help."""
    return responses.json({"status": "ok"})


@router.get(
    "/readyz", summary="Readiness", response_model=Health, responses=problems.documented(Unavailable)
)
async def ready(services: AppServices) -> Response:
    """The database responds as well. On an error, route requests to another server."""
    try:
        async with (
            asyncio.timeout(DATABASE_TIMEOUT_SECONDS),
            services.database.transaction() as session,
        ):
            await session.execute(text("SELECT 1"))
    except TimeoutError:
        raise Unavailable from None
    return responses.json({"status": "ok"})
