"""Runs scripts with npm packages, to test compatibility with JavaScript clients."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def installed(folder: Path, package: str) -> Path:
    """Install `package` (`name@version`) in the folder, and return that; skip the test without Node and
    npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node and npm")
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-save", package]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=120)
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
