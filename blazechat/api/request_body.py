"""Reading request bodies: as a stream, up to a maximum size, or as JSON or a form."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from blazechat.api.field_errors import FORM_TYPES
from blazechat.errors import BadRequest, InvalidInput

Model = TypeVar("Model", bound=BaseModel)


async def stream(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it arrives. Raises BadRequest if the connection closes before its end."""
    try:
        async for chunk in request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise BadRequest("The connection closed before the body was complete.") from None


async def read(request: Request, max_bytes: int) -> bytes:
    """Return the whole body. Raises HTTPException(413) if it is larger than `max_bytes`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise HTTPException(413)
    return bytes(body)


async def json_or_form(request: Request, model: type[Model]) -> Model:
    """Return a body that is JSON or a form, validated. Raises InvalidInput, RequestValidationError."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        body: Any = await _form(request) if content_type in FORM_TYPES else await request.json()
    except (ValueError, RecursionError):  # not JSON, or not UTF-8
        raise InvalidInput.of("", "The body is neither JSON nor a form.") from None
    try:
        return model.model_validate(body)
    except ValidationError as error:
        in_body = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(in_body) from None


async def _form(request: Request) -> dict[str, Any]:
    async with request.form(max_files=1) as form:
        return dict(form)
