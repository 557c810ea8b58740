"""Prints the Python for `make run`: the fastest one of this machine that BlazeChat can be installed with.

An early release of 3.11 comes last. An interpreter built with PGO runs everything faster, so it comes
first, even without headers: compiled or not, most of the server's time is spent in the interpreter's own
functions and in interpreted libraries (docs/decisions/0011-compiled-core.md). Among equals, one with
headers comes first, because the core can be compiled for it, and then the one that PATH names first. One
line on standard error says which one it is and why. `make run PYTHON=…` chooses another one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

VERSIONS = [(3, 11), (3, 12), (3, 13), (3, 14)]
"""Those for which all packages in constraints.txt have wheels."""
NAMES = ["python3", *(f"python{major}.{minor}" for major, minor in VERSIONS)]
SYSTEM_FOLDERS = ["/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"]
"""Searched after PATH: version managers put their own interpreters before those of the system."""
FIRST_RELIABLE_RELEASE = (3, 11, 4)
"""On 3.11.2, a client whose connection is cut while it connects does not come back; on 3.11.7 it does."""
PROBE = str(Path(__file__).resolve().parent / "blazechat" / "python_build.py")
PROBE_SECONDS = 5.0


def main() -> None:
    found = interpreters([*os.environ.get("PATH", "").split(os.pathsep), *SYSTEM_FOLDERS])
    usable = [each for each in found if is_usable(each, has_uv=shutil.which("uv") is not None)]
    if not usable:
        sys.exit(no_python(found))
    chosen = max(usable, key=rank)  # the first one of the best
    print(f"Using {chosen['executable']}: {reason(chosen, usable)}.", file=sys.stderr)
    print(chosen["executable"])


def interpreters(folders: list[str]) -> list[dict[str, Any]]:
    """Return what each interpreter reports about itself, in the order of the folders, each one once."""
    paths = [
        str(Path(folder, name))
        for folder in dict.fromkeys(folders)
        # A version manager's shims are slow, and all start the interpreter that `python3` starts.
        for name in (NAMES[:1] if folder.rstrip("/").endswith("shims") else NAMES)
    ]
    probes = [
        subprocess.Popen([path, "-I", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603
        for path in paths
        if os.access(path, os.X_OK)
    ]
    found = {}
    for probe in probes:
        try:
            report = json.loads(probe.communicate(timeout=PROBE_SECONDS)[0])
        except (subprocess.TimeoutExpired, ValueError):  # too old, or a version manager's empty entry
            probe.kill()
        else:
            found.setdefault(report["executable"], report)
    return list(found.values())


def is_usable(python: dict[str, Any], *, has_uv: bool) -> bool:
    """True if BlazeChat and the pinned versions of its packages can be installed with it."""
    return (
        python["implementation"] == "cpython"
        and tuple(python["version"]) in VERSIONS
        and python["is_final"]
        and python["has_gil"]
        and (has_uv or python["has_venv"])
    )


def rank(python: dict[str, Any]) -> tuple[bool, bool, bool]:
    """Return the preference; a greater one is better."""
    is_reliable = tuple(python["release"]) >= FIRST_RELIABLE_RELEASE
    return is_reliable, python["has_pgo"] is True, python["has_headers"]


def reason(chosen: dict[str, Any], usable: list[dict[str, Any]]) -> str:
    """Return what it is, and why it was preferred to others."""
    words = str(chosen["summary"])
    others = [each for each in usable if rank(each) < rank(chosen)]
    if others:
        is_faster = any(each["has_pgo"] is not True for each in others) and chosen["has_pgo"] is True
        is_newer = any(rank(each)[0] < rank(chosen)[0] for each in others)
        why = "more reliable than" if is_newer else "faster than" if is_faster else "has headers, unlike"
        words += f", {why} {', '.join(each['executable'] for each in others)}"
    return words


def no_python(found: list[dict[str, Any]]) -> str:
    versions = f"{VERSIONS[0][0]}.{VERSIONS[0][1]} to {VERSIONS[-1][0]}.{VERSIONS[-1][1]}"
    if any(is_usable(each, has_uv=True) for each in found):
        return "Python's venv module is missing. On Debian: apt install python3-venv"
    return f"BlazeChat needs Python {versions}. Choose one with: make PYTHON=/path/to/python3"


if __name__ == "__main__":
    main()
