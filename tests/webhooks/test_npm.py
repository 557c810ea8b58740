"""What goes out is verified by the npm library `standardwebhooks`, as receivers in JavaScript would."""

import asyncio
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from blazechat import signing

VERSION = "1.1.1"
SCRIPT = """
const { Webhook } = require("standardwebhooks");
const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
"""
SECRET, OLD_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds the library."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node and npm")
    folder = tmp_path_factory.mktemp("npm")
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-save", f"standardwebhooks@{VERSION}"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


async def _verified(library: Path, secret: str, body: bytes, headers: dict[str, str]) -> str | None:
    """What the library read; None if it refused."""
    told = json.dumps({"secret": secret, "body": body.decode(), "headers": headers})
    node = await asyncio.create_subprocess_exec(
        "node",
        "-e",
        SCRIPT,
        cwd=library,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await node.communicate(told.encode())
    if node.returncode:
        assert b"WebhookVerificationError" in error, error.decode()
        return None
    return out.decode().strip()


async def test_javascript_verifies_what_goes_out(library: Path) -> None:
    """With either secret while there are two, and with nobody else's; nothing old, nothing altered."""
    body = '{"type":"message.created","text":"Grüße 👋"}'.encode()
    now = int(time.time())
    headers = signing.headers("evt_1_2", now, body, [SECRET, OLD_SECRET])
    stale = signing.headers("evt_1_2", now - 600, body, [SECRET])
    results = await asyncio.gather(
        _verified(library, SECRET, body, headers),
        _verified(library, OLD_SECRET, body, headers),
        _verified(library, "whsec_" + "A" * 32, body, headers),
        _verified(library, SECRET, body + b" ", headers),
        _verified(library, SECRET, body, headers | {"webhook-id": "evt_1_3"}),
        _verified(library, SECRET, body, stale),
    )
    assert list(results) == [body.decode(), body.decode(), None, None, None, None]
