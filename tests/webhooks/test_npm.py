"""What goes out is verified by the npm library `standardwebhooks`, as receivers in JavaScript would."""

import asyncio
import time
from pathlib import Path

import pytest

from blazechat import signing
from tests import npm

PACKAGE = "standardwebhooks@1.1.1"
SCRIPT = """
const { Webhook } = require("standardwebhooks");
const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
"""
SECRET, OLD_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm.installed(tmp_path_factory.mktemp("npm"), PACKAGE)


async def _verified(library: Path, secret: str, body: bytes, headers: dict[str, str]) -> str | None:
    """What the library read; None if it refused."""
    told = {"secret": secret, "body": body.decode(), "headers": headers}
    status, out, error = await npm.run(library, SCRIPT, told)
    if status:
        assert "WebhookVerificationError" in error, error
        return None
    return out


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
