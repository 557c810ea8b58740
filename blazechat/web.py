"""The FastAPI application: its routers, middleware and API documents."""

from importlib.resources import files

import structlog
from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from blazechat import __version__, logs
from blazechat.api import (
    auth,
    bots,
    chats,
    conversations,
    error_handlers,
    health,
    incoming_webhooks,
    invitations,
    media,
    messages,
    openapi,
    problems,
    responses,
    server_info,
    slash_commands,
    sync,
    tus,
    users,
    webhook_deliveries,
    webhooks,
)
from blazechat.api.middleware import RequestMiddleware
from blazechat.api.pages import routes as pages
from blazechat.config import Settings
from blazechat.realtime import asyncapi
from blazechat.realtime.routes import routes as socket_routes
from blazechat.server import lifespan

DESCRIPTION = """A self-hosted real-time chat server.

Log in with `POST /api/auth/login`, and send the access token as `Authorization: Bearer …`. Paths under
`/api` also work without that prefix, and with a slash at the end. New messages arrive over WebSockets:
`/ws` ([docs/protocol.md](/docs/protocol)), or the simple sockets `/ws/chat/{chat_id}` and `/ws/status`
([docs/api.md](/docs/api)). Errors are RFC 9457 problems. All pages: [documentation](/docs/index).
"""

EXPOSED_HEADERS = [
    "Link",
    "Location",
    "Retry-After",
    "X-Request-ID",
    "ETag",
    "Accept-Ranges",
    "Content-Range",
    "Content-Disposition",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Defer-Length",
    "Upload-Expires",
    "Upload-Concat",
    "Tus-Resumable",
    "Tus-Version",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Checksum-Algorithm",
]
"""Response headers that web pages of other origins can read (CORS)."""

TAGS = [
    {"name": name}  # no descriptions: on a phone, Swagger UI squeezes them into a narrow column
    for name in (
        "Accounts and sessions",
        "Users",
        "Chats",
        "Messages",
        "Files",
        "Sync",
        "Conversations API",
        "Webhooks",
        "Bots and tokens",
        "Invitations",
        "Health",
    )
]


def create_app(settings: Settings) -> FastAPI:
    """Return the ASGI application. Its lifespan builds, starts and stops the parts of the server.

    The lifespan raises SettingsError where a setting cannot work.
    """
    logs.redact_server_logs()
    if not structlog.is_configured():  # for example under `uvicorn app.main:app`
        logs.configure(settings.log_level, settings.log_format)
    app = FastAPI(
        title="BlazeChat",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        license_info={"name": "MIT", "identifier": "MIT"},
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    error_handlers.install(app)
    openapi.install(app)
    _add_routes(app)
    _add_docs(app)
    _add_middleware(app, settings)
    return app


def _add_routes(app: FastAPI) -> None:
    """Add all routes, the most frequent ones first: they are matched in order."""
    app.router.routes += socket_routes(problems.response_of)
    for router in (
        messages.router,
        chats.router,
        auth.router,
        sync.router,
        users.router,
        media.router,
        tus.router,
        conversations.router,
        invitations.router,
        incoming_webhooks.router,
        webhooks.router,
        webhook_deliveries.router,
        slash_commands.router,
        bots.router,
        health.router,
        server_info.router,
    ):
        # Not by include_router(): FastAPI would build all routes again at each app's first request.
        app.router.routes += router.routes


def _add_docs(app: FastAPI) -> None:
    """Add the AsyncAPI document, the API explorer from installed files, and the pages for people."""
    assets = str(files("fastapi_swagger").joinpath("resources"))
    app.mount("/docs/assets", StaticFiles(directory=assets), name="docs assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="BlazeChat API",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/pages/favicon.svg",
            swagger_ui_parameters={"persistAuthorization": True},
        )

    @app.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi_document() -> Response:
        return responses.json(asyncapi.document(__version__))

    app.router.routes += pages.router.routes


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    app.add_middleware(
        RequestMiddleware,
        max_body_bytes=settings.max_body_bytes,
        max_file_bytes=settings.max_file_bytes,
        access_log=settings.access_log,
    )
    if (
        settings.allowed_origins
    ):  # outermost, so that web pages can read the errors of RequestMiddleware too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
