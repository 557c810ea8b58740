"""Snapshots of screens as text files. `UPDATE_PICTURES=1 make test` writes them again.

Read every changed snapshot before you commit it.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "pictures"


def assert_matches(name: str, snapshot: str) -> None:
    """Compare a screen with the snapshot of this name."""
    path = FOLDER / f"{name}.txt"
    snapshot = snapshot.rstrip() + "\n"
    if os.environ.get("UPDATE_PICTURES"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(snapshot)
    assert path.exists(), f"there is no snapshot {name}: write it with UPDATE_PICTURES=1"
    assert snapshot == path.read_text(), f"the screen differs from {path}:\n{snapshot}"
