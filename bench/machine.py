"""Describes the machine of a run: cores, CPU model, builds of Python and PostgreSQL."""

import os
import platform
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from blazechat.database.embedded_files import SystemAccount, binaries_for

CPU_INFO = Path("/proc/cpuinfo")
BUILD_VARIABLES = ("CONFIG_ARGS", "PY_CFLAGS", "PY_CORE_CFLAGS", "PY_LDFLAGS_NODIST", "PY_CORE_LDFLAGS")
"""Where CPython keeps the options of its build: those of `configure`, of the compiler and of the linker."""
PGO_OPTIONS = ("--enable-optimizations", "-fprofile-use", "-fprofile-instr-use")
LTO_OPTIONS = ("--with-lto", "-flto")


def describe() -> dict[str, Any]:
    """Return what the figures of a run depend on, as JSON; None for what the system does not say."""
    build = " ".join(str(sysconfig.get_config_var(name) or "") for name in BUILD_VARIABLES)
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_compiler": platform.python_compiler(),
        "python_pgo": any(option in build for option in PGO_OPTIONS) if build.strip() else None,
        "python_lto": any(option in build for option in LTO_OPTIONS) if build.strip() else None,
        "postgresql": _postgresql_version(),
    }


def headline(machine: dict[str, Any]) -> str:
    """Return the description as one line."""
    build = ", ".join(
        f"{name} {'unknown' if used is None else 'yes' if used else 'no'}"
        for name, used in (("PGO", machine["python_pgo"]), ("LTO", machine["python_lto"]))
    )
    return (
        f"{machine['cores']} cores ({machine['cpu'] or 'unknown CPU'}), {machine['python']} ({build}),"
        f" PostgreSQL {machine['postgresql']}"
    )


def _cpu_model() -> str | None:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or None


def _postgresql_version() -> str:
    """Return the version of the embedded PostgreSQL, on which all scenarios run."""
    binaries = binaries_for(SystemAccount(os.geteuid(), os.getegid()))
    answer = subprocess.run([str(binaries / "postgres"), "-V"], text=True, capture_output=True, check=True)
    return answer.stdout.split()[-1]
