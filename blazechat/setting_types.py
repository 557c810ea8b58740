"""Types of settings that need more than a range: each checks its value and normalises it.

A check raises ValueError with what is expected, as the end of a sentence.
"""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from blazechat.database_url import DatabaseAddress

MEDIA_STORE_SCHEMES = ("s3", "gs", "az")
MIN_KEY_BYTES = 32
"""RFC 7518 section 3.2: a key for HS256 has at least as many bits as the hash output."""
MAX_RETRY_SECONDS = 30 * 86_400


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [part.strip().rstrip("/") for part in value.split(",") if part.strip()]


def _split_numbers(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _check_retries(value: list[float]) -> list[float]:
    if not all(0 <= each <= MAX_RETRY_SECONDS for each in value):
        raise ValueError("each must be a number of seconds, at most 30 days (2592000): 5,300,1800")
    return value


def _check_media_types(value: list[str]) -> list[str]:
    if not all(re.fullmatch(r"(\*/\*|[\w.+\-]+/(\*|[\w.+\-]+))", each) for each in value):
        raise ValueError("each must look like image/png, image/* or */*")
    return value


def _check_media_store(value: str) -> str:
    if "://" in value and value.partition("://")[0] not in MEDIA_STORE_SCHEMES:
        raise ValueError(f"must be a folder, or a URL with one of {', '.join(MEDIA_STORE_SCHEMES)}://")
    return value


def _check_origins(value: list[str]) -> list[str]:
    for origin in value:
        parts = urlsplit(origin)
        if origin != "*" and (parts.scheme not in ("http", "https") or parts.path):
            raise ValueError("each must look like https://chat.example.com, without a path")
    return value


def _check_public_url(value: str) -> str:
    parts = urlsplit(value)
    if value and (
        parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment
    ):
        raise ValueError("must look like https://chat.example.com")
    return value.rstrip("/")


def _check_database_url(value: str | None) -> str | None:
    if value is None:
        return None
    DatabaseAddress.parse(value)
    return f"postgresql://{value.partition('://')[2]}"


def _check_secret_key(value: str | None) -> str | None:
    if value is not None and len(value.encode()) < MIN_KEY_BYTES:
        raise ValueError(
            f"must have at least {MIN_KEY_BYTES} characters; make one with:"
            ' python -c "import secrets; print(secrets.token_hex(32))"'
        )
    return value


def _check_postgres_options(value: str) -> str:
    if any("=" not in part for part in value.split()):
        raise ValueError("must be name=value pairs separated by spaces")
    return value


DatabaseUrl = Annotated[str | None, AfterValidator(_check_database_url)]
PostgresOptions = Annotated[str, AfterValidator(_check_postgres_options)]
SecretKey = Annotated[str | None, AfterValidator(_check_secret_key)]
MediaStore = Annotated[str, AfterValidator(_check_media_store)]
MediaTypes = Annotated[list[str], NoDecode, BeforeValidator(_split), AfterValidator(_check_media_types)]
RetrySchedule = Annotated[
    list[float], NoDecode, BeforeValidator(_split_numbers), AfterValidator(_check_retries)
]
PublicUrl = Annotated[str, AfterValidator(_check_public_url)]
Origins = Annotated[list[str], NoDecode, BeforeValidator(_split), AfterValidator(_check_origins)]
