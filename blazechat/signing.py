"""Signatures of webhooks: Standard Webhooks 1.0 (https://www.standardwebhooks.com), symmetric, `v1`."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


def headers(name: str, at: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of a request under the id `name` at a time (Unix seconds), signed with each secret."""
    signed = f"{name}.{at}.".encode() + body
    signatures = [f"v1,{_signature(secret, signed)}" for secret in secrets]
    return content(name) | {"webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


def content(name: str) -> dict[str, str]:
    """Those of them that are the same for every try."""
    return {"content-type": "application/json", "webhook-id": name}


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
