"""For those who watch the server: is it alive, is it ready."""

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import text

from blazechat.api import problems, responses
from blazechat.api.dependencies import AllServices
from blazechat.errors import Unavailable

router = APIRouter(tags=["Health"])

PATIENCE = 2.0
"""Seconds that the database gets to answer."""


class Health(BaseModel):
    status: str


@router.get("/healthz", summary="Alive", response_model=Health, responses=problems.documented())
async def alive() -> Response:
    """The process answers; whatever else is wrong, a restart is not the cure."""
    return responses.json({"status": "ok"})


@router.get("/readyz", summary="Ready", response_model=Health, responses=problems.documented(Unavailable))
async def ready(services: AllServices) -> Response:
    """The database answers too; until then, send the traffic elsewhere."""
    try:
        async with asyncio.timeout(PATIENCE), services.database.transaction() as session:
            await session.execute(text("SELECT 1"))
    except TimeoutError:
        raise Unavailable from None
    return responses.json({"status": "ok"})
