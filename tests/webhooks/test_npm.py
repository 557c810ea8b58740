"""The npm library `standardwebhooks` verifies our signatures, as receivers in JavaScript do."""

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


async def _verify(library: Path, secret: str, body: bytes, headers: dict[str, str]) -> str | None:
    """Return what the library decoded; None if it rejected the request."""
    request = {"secret": secret, "body": body.decode(), "headers": headers}
    status, out, error = await npm.run(library, SCRIPT, request)
    if status:
        assert "WebhookVerificationError" in error, error
        return None
    return out


async def test_javascript_library_verifies_our_signatures(library: Path) -> None:
    """With both current secrets; not with another secret, an old timestamp or changed content."""
    body = '{"type":"message.created","text":"Grüße 👋"}'.encode()
    now = int(time.time())
    headers = signing.signed_headers("evt_1_2", now, body, [SECRET, OLD_SECRET])
    stale = signing.signed_headers("evt_1_2", now - 600, body, [SECRET])
    results = await asyncio.gather(
        _verify(library, SECRET, body, headers),
        _verify(library, OLD_SECRET, body, headers),
        _verify(library, "whsec_" + "A" * 32, body, headers),
        _verify(library, SECRET, body + b" ", headers),
        _verify(library, SECRET, body, headers | {"webhook-id": "evt_1_3"}),
        _verify(library, SECRET, body, stale),
    )
    assert list(results) == [body.decode(), body.decode(), None, None, None, None]
