"""Libraries from npm, for what has to get on with programs in JavaScript."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def installed(folder: Path, package: str) -> Path:
    """A folder in which Node finds `package`, `name@version`; skips the test where there is no Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node and npm")
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-save", package]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


async def run(folder: Path, script: str, stdin: dict[str, Any]) -> tuple[int, str, str]:
    """Run `script` with `told` as JSON on its standard input: exit status, output, errors."""
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
