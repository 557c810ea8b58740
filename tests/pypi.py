"""Installs packages of PyPI beside the environment of the tests, to test compatibility with programs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def installed(folder: Path, package: str) -> dict[str, str]:
    """Install `package` (`name==version`) in the folder; return the environment in which Python finds it.

    Its dependencies may conflict with ours.
    """
    uv = shutil.which("uv")
    if uv is not None:
        install = [uv, "pip", "install", "--quiet", "--python", sys.executable]
    else:  # the environment was made by venv, and has pip
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run(
        [*install, "--target", str(folder), package], check=True, capture_output=True, timeout=120
    )
    return os.environ | {"PYTHONPATH": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
