"""Snapshots of screens as text files. `UPDATE_PICTURES=1 make test` writes them again.

Read every changed snapshot before you commit it.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from tests.harness import eventually

FOLDER = Path(__file__).parent / "pictures"


async def assert_matches(name: str, read: Callable[[], str]) -> None:
    """Wait until the screen, as `read()` returns it, equals the snapshot of this name."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_PICTURES"):
        FOLDER.mkdir(exist_ok=True)
        await asyncio.sleep(0.5)
        path.write_text(_text(read))
    assert path.exists(), f"there is no snapshot {name}: write it with UPDATE_PICTURES=1"
    expected = path.read_text()
    try:
        await eventually(lambda: _text(read) == expected)
    except TimeoutError:
        raise AssertionError(f"the screen differs from {path}:\n{_text(read)}") from None


def _text(read: Callable[[], str]) -> str:
    return read().rstrip() + "\n"
