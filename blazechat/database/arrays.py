"""Lists as PostgreSQL's array literals, for statements that take thousands of values a batch.

Given a list, asyncpg asks of each element whether it is a list itself, and encodes one by one: with some
twenty arrays a batch that was a quarter of the server's time. A literal is one string. The statement reads
it with `$1::text::int8[]`.
"""

from collections.abc import Iterable


def numbers(values: Iterable[int | None]) -> str:
    """For `int8[]`."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def texts(values: Iterable[str]) -> str:
    """For `text[]`."""
    quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(quoted) + '"}' if quoted else "{}"
