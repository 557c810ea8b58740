"""Pictures of screens, kept as text beside the tests: `UPDATE_PICTURES=1 make test` takes them anew.

Every one is to be looked at before it is kept.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "pictures"


def same_as(name: str, picture: str) -> None:
    """Compare with the picture of that name."""
    path = FOLDER / f"{name}.txt"
    picture = picture.rstrip() + "\n"
    if os.environ.get("UPDATE_PICTURES"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(picture)
    assert path.exists(), f"there is no picture {name}: take it with UPDATE_PICTURES=1"
    assert picture == path.read_text(), f"not as in {path}:\n{picture}"
