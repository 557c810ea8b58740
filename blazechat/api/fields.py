"""Types of path, query and body fields that several routers share.

OpenAPI documents the limits in `json_schema_extra`. `domain/validation.py` and `domain/auth/passwords.py`
enforce them, because their error sentences are clearer. `max_length` bounds the cost of that validation.
"""

from typing import Annotated

from fastapi import Path, Query
from pydantic import Field

from blazechat.domain.auth.passwords import MAX_PASSWORD_BYTES
from blazechat.domain.validation import MAX_ATTACHMENTS, MAX_MESSAGE_CHARACTERS

MAX_ID = 2**53 - 1
"""JSON integers are exact everywhere up to this value (RFC 8259 section 6)."""
MAX_FIELD_CHARACTERS = 400
"""Longer names and passwords are rejected before their own limits are checked."""
MAX_USER_IDS = 1000
MAX_URL_CHARACTERS = 4_000

PathId = Annotated[int, Path(ge=1, le=MAX_ID)]
QueryId = Annotated[int, Query(ge=1, le=MAX_ID)]
BodyId = Annotated[int, Field(ge=1, le=MAX_ID)]

Limit = Annotated[int, Query(ge=1, le=100, description="Maximum number of items.")]
Skip = Annotated[int, Query(ge=0, le=MAX_ID, description="Number of items to skip.")]
AfterUserId = Annotated[int, Query(ge=0, le=MAX_ID, description="Return users with greater ids.")]

Username = Annotated[
    str,
    Field(
        max_length=MAX_FIELD_CHARACTERS,
        description="Letters and digits of any script, `_`, and inside the name `.` and `-`.",
        json_schema_extra={"maxLength": 50, "pattern": r"^\w([\w.\-]*\w)?$"},
    ),
]
Email = Annotated[str, Field(max_length=MAX_FIELD_CHARACTERS, json_schema_extra={"format": "email"})]
Password = Annotated[
    str,
    Field(
        max_length=MAX_FIELD_CHARACTERS,
        description="At most 72 bytes in UTF-8.",
        json_schema_extra={"minLength": 1, "maxLength": MAX_PASSWORD_BYTES},
    ),
]
UserIds = Annotated[list[BodyId], Field(max_length=MAX_USER_IDS)]
MessageContent = Annotated[
    str,
    Field(
        description="Must not be blank, unless there are attachments.",
        json_schema_extra={"maxLength": MAX_MESSAGE_CHARACTERS},
    ),
]
AttachmentIds = Annotated[
    list[BodyId],
    Field(max_length=1000, json_schema_extra={"maxItems": MAX_ATTACHMENTS, "uniqueItems": True}),
]
Url = Annotated[
    str,
    Field(max_length=MAX_URL_CHARACTERS, description="The URL to POST to. Its address must be public."),
]
