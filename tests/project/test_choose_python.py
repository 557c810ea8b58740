"""`make` installs with the fastest Python that fits, and says why."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import choose_python

ROOT = Path(__file__).parent.parent.parent


def _python(path: str, **report: Any) -> dict[str, Any]:
    """What an interpreter reports about itself."""
    usual = {
        "executable": path,
        "implementation": "cpython",
        "version": [3, 11],
        "release": [3, 11, 9],
        "is_final": True,
        "has_gil": True,
        "has_pgo": False,
        "has_headers": True,
        "has_venv": True,
        "summary": f"the Python {path}",
    }
    return usual | report


def _chosen(*found: dict[str, Any]) -> str:
    return str(max(found, key=choose_python.rank)["executable"])


def test_optimised_build_comes_first_then_one_with_headers() -> None:
    """Among equals it is the first one of PATH, whichever is newer."""
    plain, newer = _python("plain"), _python("newer", version=[3, 13])
    bare = _python("bare", has_headers=False)
    optimised = _python("optimised", has_pgo=True, has_headers=False)
    unknown = _python("unknown", has_pgo=None)
    assert _chosen(plain, newer) == "plain"
    assert _chosen(newer, unknown, plain) == "newer"
    assert _chosen(bare, plain) == "plain"
    assert _chosen(bare, plain, optimised) == "optimised"
    early = _python("early", has_pgo=True, release=[3, 11, 2])
    assert _chosen(early, bare) == "bare", "connections that are cut are not opened again on early releases"
    assert choose_python.reason(bare, [early, bare]) == "the Python bare, more reliable than early"
    assert choose_python.reason(optimised, [plain, optimised]) == "the Python optimised, faster than plain"
    assert choose_python.reason(plain, [bare, plain]) == "the Python plain, has headers, unlike bare"
    assert choose_python.reason(plain, [plain, newer]) == "the Python plain"


def test_python_that_cannot_be_used_is_not_chosen() -> None:
    """Another implementation, too old or too new, a pre-release, without lock, or without venv and uv."""
    assert choose_python.is_usable(_python("plain"), has_uv=False)
    assert choose_python.is_usable(_python("bare", has_venv=False), has_uv=True)
    for report in (
        {"implementation": "pypy"},
        {"version": [3, 10]},
        {"version": [3, 99]},
        {"is_final": False},
        {"has_gil": False},
        {"has_venv": False},
    ):
        assert not choose_python.is_usable(_python("other", **report), has_uv=False), report


def test_interpreters_of_the_path_are_found(tmp_path: Path) -> None:
    """Each one once, in the order of the folders. What is no Python is left out."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, name, output in (
        (first, "python3", json.dumps(_python("a"))),
        (first, "python3.11", json.dumps(_python("a"))),
        (second, "python3", "no such version"),
        (second, "python3.12", json.dumps(_python("b"))),
    ):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\necho '{output}'\n")
        (folder / name).chmod(0o755)
    found = choose_python.interpreters([str(first), str(second), str(tmp_path / "none")])
    assert [each["executable"] for each in found] == ["a", "b"]


def test_make_uses_the_chosen_python(tmp_path: Path) -> None:
    """It prints a path, which fits, and one line that says why."""
    done = subprocess.run(
        [sys.executable, "choose_python.py"], cwd=ROOT, text=True, capture_output=True, check=True
    )
    chosen = done.stdout.strip()
    assert done.stderr.startswith(f"Using {chosen}: Python 3.")
    assert len(done.stderr.splitlines()) == 1
    report = subprocess.run([chosen, "-I", choose_python.PROBE], text=True, capture_output=True, check=True)
    assert choose_python.is_usable(json.loads(report.stdout), has_uv=shutil.which("uv") is not None)
    for make in ({}, {"PYTHON": "/chosen/by/user"}):
        recipe = subprocess.run(
            ["make", "--dry-run", "--always-make", ".venv/.run"],
            cwd=ROOT,
            env=os.environ | make,
            text=True,
            capture_output=True,
            check=True,
        ).stdout
        assert f'python="{make.get("PYTHON", "")}"' in recipe
        assert "choose_python.py" in recipe
