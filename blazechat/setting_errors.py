"""What a setting expects, in words: the end of a sentence that begins with the setting's name."""

from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}


def expectation(field: FieldInfo, problem: ErrorDetails) -> str:
    """Return what is expected of a setting that Pydantic has rejected. The value is not repeated."""
    if problem["type"] == "value_error":  # from setting_types.py
        return problem["msg"].removeprefix("Value error, ")
    kinds = {field.annotation, *get_args(field.annotation)}
    if get_origin(field.annotation) is Literal:
        return f"must be one of {', '.join(get_args(field.annotation))}"
    if bool in kinds:
        return "must be true or false"
    for kind, words in NUMBERS.items():
        if kind in kinds:
            is_list = get_origin(field.annotation) is list
            if problem["type"] == "too_long":
                return f"must have at most {_bound(field, 'max_length')} numbers"
            return f"must be {'numbers, separated by commas' if is_list else words + _range(field)}"
    return "must not be empty" if problem["type"] == "too_short" else "has a value that cannot be used"


def _range(field: FieldInfo) -> str:
    low, above, high = (_bound(field, name) for name in ("ge", "gt", "le"))
    if low is not None:
        return f" from {low} to {high}"
    return f" greater than {above}, at most {high}"


def _bound(field: FieldInfo, name: str) -> Any:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)
