"""`blazechat serve` with two further routes that return constants: the ceilings of HTTP scenarios."""

from functools import cache

from fastapi import FastAPI, Response
from pydantic import BaseModel

from blazechat import web
from blazechat.config import Settings

CONSTANT = {"id": 1, "chat_id": 1, "content": "x" * 40, "created_at": "2026-01-01T00:00:00Z"}

_create_app = web.create_app


@cache
def _bytes(size: int) -> bytes:
    return b"x" * size


class Body(BaseModel):
    content: str


def create_app(settings: Settings) -> FastAPI:
    """Build the app with the constant routes.

    They are the first ones: behind all others, the search for them would take 40 % of their time.
    """
    app = _create_app(settings)
    others = list(app.router.routes)
    app.router.routes.clear()

    @app.post("/api/constant", status_code=201)
    async def constant(body: Body) -> dict[str, object]:
        return CONSTANT

    @app.get("/api/constant/{size}")
    async def constant_bytes(size: int) -> Response:
        return Response(_bytes(size), media_type="application/json")

    app.router.routes += others
    return app


if __name__ == "__main__":
    import sys

    from blazechat.cli import main

    web.create_app = create_app
    sys.argv = ["blazechat", "serve"]
    main()
