"""Describes the machine of a run: cores, CPU model, builds of Python and PostgreSQL."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from blazechat import compiled_core, python_build
from blazechat.database.embedded_files import SystemAccount, binaries_for

CPU_INFO = Path("/proc/cpuinfo")


def describe() -> dict[str, Any]:
    """Return what the figures of a run depend on, as JSON; None for what the system does not say."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_compiler": platform.python_compiler(),
        "python_pgo": python_build.has_pgo(),
        "python_lto": python_build.has_lto(),
        "core": str(compiled_core.install()),
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
        f" core {machine['core']}, PostgreSQL {machine['postgresql']}"
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
