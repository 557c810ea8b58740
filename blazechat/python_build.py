"""Describes how the running Python was built, and what can be installed with it.

`choose_python.py` runs this file with every interpreter that it finds. So it uses the standard library
only, and works on older versions of Python than BlazeChat does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import sysconfig
from pathlib import Path

BUILD_VARIABLES = ("CONFIG_ARGS", "PY_CFLAGS", "PY_CORE_CFLAGS", "PY_LDFLAGS_NODIST", "PY_CORE_LDFLAGS")
"""Where CPython keeps the options of its build: those of `configure`, of the compiler and of the linker."""
PGO_OPTIONS = ("--enable-optimizations", "-fprofile-use", "-fprofile-instr-use")
LTO_OPTIONS = ("--with-lto", "-flto")
DEBIAN_SCHEME = "deb_system"
"""An installation scheme that Debian and Ubuntu add to their Python. They build it with PGO and LTO, and
remove these options from what it reports."""


def has_pgo() -> bool | None:
    """True if it was built with profile-guided optimisation; None if that is unknown."""
    return _was_built_with(PGO_OPTIONS)


def has_lto() -> bool | None:
    """True if it was built with link-time optimisation; None if that is unknown."""
    return _was_built_with(LTO_OPTIONS)


def summary() -> str:
    """Return name, version and build in words."""
    version = ".".join(map(str, sys.version_info[:3]))
    name = "Python" if sys.implementation.name == "cpython" else sys.implementation.name
    build = {True: "optimised build", False: "build without PGO", None: "unknown build"}[has_pgo()]
    return f"{name} {version}, {build}"


def _was_built_with(options: tuple[str, ...]) -> bool | None:
    if DEBIAN_SCHEME in sysconfig.get_scheme_names():
        return True
    build = " ".join(str(sysconfig.get_config_var(name) or "") for name in BUILD_VARIABLES)
    return any(option in build for option in options) if build.strip() else None


def _report() -> dict[str, object]:
    """Return what choose_python.py compares."""
    return {
        "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
        "implementation": sys.implementation.name,
        "version": sys.version_info[:2],
        "release": sys.version_info[:3],
        "is_final": sys.version_info[3] == "final",
        "has_gil": not sysconfig.get_config_var("Py_GIL_DISABLED"),
        "has_pgo": has_pgo(),
        "has_headers": Path(sysconfig.get_path("include"), "Python.h").exists(),
        "has_venv": all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip")),
        "summary": summary(),
    }


if __name__ == "__main__":
    print(json.dumps(_report()))
