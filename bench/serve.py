"""`blazechat serve` with one route more: the constant that FastAPI is measured by."""

from fastapi import FastAPI
from pydantic import BaseModel

from blazechat import server
from blazechat.config import Settings

CONSTANT = {"id": 1, "chat_id": 1, "content": "x" * 40, "created_at": "2026-01-01T00:00:00Z"}

_create_app = server.create_app


class Body(BaseModel):
    content: str


def create_app(settings: Settings) -> FastAPI:
    app = _create_app(settings)

    @app.post("/api/constant", status_code=201)
    async def constant(body: Body) -> dict[str, object]:
        return CONSTANT

    return app


if __name__ == "__main__":
    import sys

    from blazechat.cli import main

    server.create_app = create_app
    sys.argv = ["blazechat", "serve"]
    main()
