"""Runs scripts with npm packages, to test compatibility with JavaScript clients."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def installed(folder: Path, *packages: str) -> Path:
    """Install packages (`name@version`) in the folder, and return that.

    Without Node and npm, skip the test; in CI, fail it.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        assert not os.environ.get("CI"), "CI needs Node and npm"
        pytest.skip("needs Node and npm")
    options = ["--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefer-offline"]
    subprocess.run(
        ["npm", "install", *options, *packages], cwd=folder, check=True, capture_output=True, timeout=120
    )
    return folder


async def run(folder: Path, script: str, stdin: dict[str, Any]) -> tuple[int, str, str]:
    """Run a script with `stdin` as JSON on its standard input; return exit status, output and errors."""
    node = await asyncio.create_subprocess_exec(
        "node",
        "-e",
        script,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await node.communicate(json.dumps(stdin).encode())
    return node.returncode or 0, out.decode().strip(), error.decode()
