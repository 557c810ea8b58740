"""Signs webhook requests by Standard Webhooks 1.0 (https://www.standardwebhooks.com), symmetric, `v1`."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

KEY_PREFIX = "whsec_"


def signed_headers(message_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers of a request, with a signature per secret. `timestamp` is in Unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [f"v1,{_signature(secret, signed)}" for secret in secrets]
    return constant_headers(message_id) | {
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def constant_headers(message_id: str) -> dict[str, str]:
    """Return the headers that are the same for every attempt."""
    return {"content-type": "application/json", "webhook-id": message_id}


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(KEY_PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
