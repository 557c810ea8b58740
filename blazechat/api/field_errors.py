"""Sentences for invalid fields: each error of Pydantic in our own words, and all fields at once."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastapi import Request, params
from pydantic import AfterValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from blazechat.errors import FieldError, InvalidInput

CHECKED = "checked"
"""The error type of fields that a check of the domain has rejected."""
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")
NEEDS_FORM = (
    "This request takes a form, not JSON. Send the fields as application/x-www-form-urlencoded or"
    " multipart/form-data."
)
NEEDS_JSON = "This request takes JSON. Send it with the header `Content-Type: application/json`."
NO_BODY = "This request needs a body in JSON."
NO_OBJECT = "The body must be a JSON object."
FALLBACK = "This value is not valid. Check it against the API documentation at /docs."

_NOT_A_STRING = "This must be a string."
_NOT_UNICODE = "This is not valid Unicode: it has a lone surrogate."
_NOT_WHOLE = "This must be a whole number."
_NOT_A_NUMBER = "This must be a number."
_NOT_A_LIST = "This must be a list."
_NOT_AN_OBJECT = "This must be a JSON object."
_NOT_A_BOOLEAN = "This must be true or false."
_ONE_OF = "This must be {expected}."

SENTENCES = {
    "missing": "This field is required.",
    "string_type": _NOT_A_STRING,
    "string_unicode": _NOT_UNICODE,
    "string_too_short": "This is too short: it must have at least {min_length}.",
    "string_too_long": "This is too long: it must have at most {max_length:,} characters.",
    "bytes_type": _NOT_A_STRING,
    "int_type": _NOT_WHOLE,
    "int_parsing": _NOT_WHOLE,
    "int_parsing_size": _NOT_WHOLE,
    "int_from_float": _NOT_WHOLE,
    "float_type": _NOT_A_NUMBER,
    "float_parsing": _NOT_A_NUMBER,
    "finite_number": _NOT_A_NUMBER,
    "greater_than_equal": "This must be at least {ge:,}.",
    "less_than_equal": "This must be at most {le:,}.",
    "bool_type": _NOT_A_BOOLEAN,
    "bool_parsing": _NOT_A_BOOLEAN,
    "list_type": _NOT_A_LIST,
    "too_short": "This list must not be empty.",
    "too_long": "This list must have at most {max_length:,} items.",
    "model_type": _NOT_AN_OBJECT,
    "model_attributes_type": _NOT_AN_OBJECT,
    "dict_type": _NOT_AN_OBJECT,
    "enum": _ONE_OF,
    "literal_error": _ONE_OF,
}
"""By Pydantic's error type; the names in braces are those of the error's context."""


def checked(check: Callable[[Any], object]) -> AfterValidator:
    """Return a validator for a field that `check` of the domain rejects with InvalidInput.

    So that errors of the domain are reported together with those of other fields. The value stays as the
    client sent it; the domain normalises it.
    """

    def validate(value: Any) -> Any:
        try:
            check(value)
        except InvalidInput as error:
            raise _rejection(error.detail) from None
        return value

    return AfterValidator(validate)


def with_others(error: ValidationError, others: Iterable[FieldError]) -> ValidationError:
    """Return the error with those of other fields, which a check of the domain has found."""
    details = [
        InitErrorDetails(type=each["type"], loc=each["loc"], input=each["input"], ctx=each.get("ctx", {}))
        for each in error.errors()
    ]
    details += [
        InitErrorDetails(type=_rejection(each.detail), loc=(each.field,), input=None) for each in others
    ]
    return ValidationError.from_exception_data(error.title, details)


def _rejection(sentence: str) -> PydanticCustomError:
    return PydanticCustomError(CHECKED, "{sentence}", {"sentence": sentence})


def invalid_input(request: Request, problems: Sequence[Mapping[str, Any]]) -> InvalidInput:
    """Return the error for a request that FastAPI has rejected, with all its invalid fields."""
    body_error = _body_error(request, problems)
    found: dict[str, str] = {}
    if body_error is not None:
        found[""] = body_error
        problems = [problem for problem in problems if problem["loc"][0] != "body"]
    for problem in problems:
        found.setdefault(_name(problem), _sentence(problem))
    return InvalidInput.of_all(FieldError(*error) for error in found.items())


def _body_error(request: Request, problems: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a sentence if the body as a whole has the wrong form; None if it has not."""
    first = next((problem for problem in problems if problem["loc"][0] == "body"), None)
    if first is None:
        return None
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if _takes_form(request):
        return None if content_type in FORM_TYPES else NEEDS_FORM
    if first["type"] == "json_invalid":
        return "The body is not valid JSON."
    if _name(first):
        return None
    if first["type"] == "missing":
        return NO_BODY
    is_json = content_type.partition("/")[2].rpartition("+")[2] == "json"
    return NO_OBJECT if is_json else NEEDS_JSON


def _takes_form(request: Request) -> bool:
    """True if the body of the matched route is a form."""
    field = getattr(request.scope.get("route"), "body_field", None)
    return field is not None and isinstance(field.field_info, params.Form)


def _name(problem: Mapping[str, Any]) -> str:
    """Return the field's name, such as `user_ids.0`; "" for the body as a whole."""
    # For a union, Pydantic puts the names of its types between those of the fields.
    return ".".join(str(part) for part in problem["loc"][1:] if re.fullmatch(r"[a-z0-9_]+", str(part)))


def _sentence(problem: Mapping[str, Any]) -> str:
    kind, context = str(problem["type"]), problem.get("ctx", {})
    if kind == CHECKED:
        return str(context["sentence"])
    if kind == "string_too_short":
        least = int(context["min_length"])
        context = {"min_length": "one character" if least == 1 else f"{least:,} characters"}
    return SENTENCES.get(kind, FALLBACK).format(**context)
