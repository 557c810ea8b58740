"""Health checks for load balancers and supervisors: liveness and readiness."""

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import text

from blazechat.api import problems, responses
from blazechat.api.dependencies import AppServices
from blazechat.api.openapi import operation_id
from blazechat.errors import Unavailable

router = APIRouter(tags=["Health"], generate_unique_id_function=operation_id)

DATABASE_TIMEOUT_SECONDS = 2.0


class Health(BaseModel):
    status: str


@router.get("/healthz", summary="Liveness", response_model=Health, responses=problems.documented())
async def get_liveness() -> Response:
    """The process responds. If something else fails, a restart does not help."""
    return responses.json({"status": "ok"})


@router.get(
    "/readyz", summary="Readiness", response_model=Health, responses=problems.documented(Unavailable)
)
async def get_readiness(services: AppServices) -> Response:
    """The database responds as well. On an error, route requests to another server."""
    await _require_database(services)
    return responses.json({"status": "ok"})


@router.get("/api", summary="Test the API", response_model=Health, responses=problems.documented())
async def test_api() -> Response:
    """The API responds, as the original client expects it."""
    return responses.json({"status": "API is running"})


@router.get(
    "/api/test",
    summary="Test the database",
    response_model=Health,
    responses=problems.documented(Unavailable),
)
@router.get(
    "/api/dbtest",
    operation_id="test_database_by_older_path",
    summary="Test the database (older path)",
    response_model=Health,
    responses=problems.documented(Unavailable),
)
async def test_database(services: AppServices) -> Response:
    """The database responds. The original web client asks this before it lets its user log in."""
    await _require_database(services)
    return responses.json({"status": "Database connection successful"})


async def _require_database(services: AppServices) -> None:
    """Raises Unavailable if the database does not respond."""
    try:
        async with (
            asyncio.timeout(DATABASE_TIMEOUT_SECONDS),
            services.database.transaction() as session,
        ):
            await session.execute(text("SELECT 1"))
    except TimeoutError:
        raise Unavailable from None
