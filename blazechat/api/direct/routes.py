"""The table of direct calls, and the choice of the requests that they get."""

import re

from blazechat.api import middleware
from blazechat.api.dependencies import Services
from blazechat.api.direct.call import CallContext, DirectCall, DirectRequest, Header
from blazechat.api.direct.messages import ListMessages, MarkRead, SendConversationMessage, SendMessage

URL = re.compile(
    rb"(?:/api)?/(chats|messages/conversations)/([1-9][0-9]{0,14})/(messages(?:/read)?)(?:\?([a-z0-9=&]*))?"
)
"""URLs without percent-encoding: these have only one spelling."""

ROUTES: dict[tuple[bytes, bytes, bytes], type[DirectCall]] = {
    (b"POST", b"chats", b"messages"): SendMessage,
    (b"GET", b"chats", b"messages"): ListMessages,
    (b"PUT", b"chats", b"messages/read"): MarkRead,
    (b"POST", b"messages/conversations", b"messages"): SendConversationMessage,
}

PROTOCOL_HEADERS = frozenset({b"expect", b"transfer-encoding", b"upgrade"})
"""A request with one of these is left to FastAPI and uvicorn."""


class DirectCalls:
    """Creates the direct calls of a server."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        has_cors = bool(settings.allowed_origins)
        self._context = CallContext(
            services=services,
            max_body_bytes=settings.max_body_bytes,
            access_log=settings.access_log,
            # CORSMiddleware adds `Vary` to all responses, and further headers if there is an `Origin`.
            last_headers=(middleware.NO_SNIFF, *([(b"vary", b"Origin")] if has_cors else ())),
        )
        self._excluded = PROTOCOL_HEADERS | ({b"origin"} if has_cors else frozenset())

    def call_for(self, method: bytes, url: bytes, headers: list[Header]) -> DirectCall | None:
        """Return the call for a request of HTTP/1.1, given its head; None if FastAPI has to answer it."""
        match = URL.fullmatch(url)
        if match is None:
            return None
        resource, chat_id, rest, query = match.groups()
        call_type = ROUTES.get((method, resource, rest))
        if call_type is None or (query and not call_type.has_query):
            return None
        unique = dict(headers)
        if len(unique) < len(headers) or not self._excluded.isdisjoint(unique):
            return None
        return call_type(self._context, DirectRequest(method, url, unique, int(chat_id), query or b""))
