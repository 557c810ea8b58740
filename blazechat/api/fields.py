"""Types of path, query and body fields that several routers share.

OpenAPI documents the limits in `json_schema_extra`. `domain/validation.py` and `domain/auth/passwords.py`
enforce them, because their error sentences are clearer. `max_length` bounds the cost of that validation.
The domain checks the same values again: these checks are for reporting all invalid fields at once.
"""

from contextvars import ContextVar
from typing import Annotated

from fastapi import Depends, Path, Query
from pydantic import Field

from blazechat.api.dependencies import AppServices, Services
from blazechat.api.field_errors import checked
from blazechat.domain import validation
from blazechat.domain.auth.passwords import MAX_PASSWORD_BYTES
from blazechat.domain.validation import (
    MAX_ATTACHMENTS,
    MAX_CHAT_NAME_CHARACTERS,
    MAX_CLIENT_ID_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_NAME_CHARACTERS,
)

MAX_ID = 2**53 - 1
"""JSON integers are exact everywhere up to this value (RFC 8259 section 6)."""
MAX_FIELD_CHARACTERS = 400
"""Longer names and passwords are rejected before their own limits are checked."""
MAX_USER_IDS = 1000
MAX_URL_CHARACTERS = 4_000
MAX_LIMIT = 100
MAX_ATTACHMENT_IDS = 1000
"""Longer lists are rejected before the limit of attachments is checked."""

PathId = Annotated[int, Path(ge=1, le=MAX_ID)]
QueryId = Annotated[int, Query(ge=1, le=MAX_ID)]
BodyId = Annotated[int, Field(ge=1, le=MAX_ID)]

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Maximum number of items.")]
Skip = Annotated[int, Query(ge=0, le=MAX_ID, description="Number of items to skip.")]
AfterUserId = Annotated[int, Query(ge=0, le=MAX_ID, description="Return users with greater ids.")]

Username = Annotated[
    str,
    Field(
        max_length=MAX_FIELD_CHARACTERS,
        description="Letters and digits of any script, `_`, and inside the name `.` and `-`.",
        json_schema_extra={"maxLength": 50, "pattern": r"^\w([\w.\-]*\w)?$"},
    ),
    checked(validation.username),
]
DisplayName = Annotated[
    str,
    Field(max_length=MAX_FIELD_CHARACTERS, json_schema_extra={"maxLength": MAX_NAME_CHARACTERS}),
    checked(validation.display_name),
]
Label = Annotated[
    str,
    Field(max_length=MAX_FIELD_CHARACTERS, json_schema_extra={"maxLength": MAX_NAME_CHARACTERS}),
    checked(validation.label),
]
Email = Annotated[
    str,
    Field(max_length=MAX_FIELD_CHARACTERS, json_schema_extra={"format": "email"}),
    checked(validation.email),
]
Password = Annotated[
    str,
    Field(
        max_length=MAX_FIELD_CHARACTERS,
        description="At most 72 bytes in UTF-8.",
        json_schema_extra={"minLength": 1, "maxLength": MAX_PASSWORD_BYTES},
    ),
]

_services: ContextVar[Services] = ContextVar("services")


async def _provide_services(services: AppServices) -> None:
    _services.set(services)


SERVICE_CHECKS = [Depends(_provide_services)]
"""The `dependencies` of a route with a `NewPassword` or a `Url`, whose rules are settings of the server."""


def _check_password(password: str) -> None:
    _services.get().accounts.check_password(password)


def _check_url(url: str) -> None:
    _services.get().webhooks.check_url(url)


NewPassword = Annotated[Password, checked(_check_password)]
UserIds = Annotated[list[BodyId], Field(max_length=MAX_USER_IDS)]
ChatName = Annotated[
    str,
    Field(max_length=1000, json_schema_extra={"maxLength": MAX_CHAT_NAME_CHARACTERS}),
    checked(validation.chat_name),
]


MessageContent = Annotated[
    str,
    Field(
        description="Must not be blank, unless there are attachments.",
        json_schema_extra={"maxLength": MAX_MESSAGE_CHARACTERS},
    ),
]
AttachmentIds = Annotated[
    list[BodyId],
    Field(
        max_length=MAX_ATTACHMENT_IDS, json_schema_extra={"maxItems": MAX_ATTACHMENTS, "uniqueItems": True}
    ),
]
ClientId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_CLIENT_ID_CHARACTERS,
        description="An idempotency key: a retry with the same key does not store the message again.",
    ),
]
Url = Annotated[
    str,
    Field(max_length=MAX_URL_CHARACTERS, description="The URL to POST to. Its address must be public."),
    checked(_check_url),
]
