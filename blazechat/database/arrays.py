"""Encodes lists as PostgreSQL array literals, for statements that take thousands of values per batch.

For a list, asyncpg checks of each element whether it is a list itself, and encodes the elements one by one.
With some twenty arrays per batch that was a quarter of the server's CPU time. A literal is one string. The
statement reads it with `$1::text::int8[]`.
"""

from collections.abc import Iterable


def numbers(values: Iterable[int | None]) -> str:
    """Return a literal for `int8[]`."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def texts(values: Iterable[str]) -> str:
    """Return a literal for `text[]`."""
    quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(quoted) + '"}' if quoted else "{}"
