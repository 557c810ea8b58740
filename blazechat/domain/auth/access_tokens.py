"""Access tokens: short-lived JWTs (RFC 7519) that name a user and a session."""

import hashlib
import secrets
import time
from dataclasses import dataclass
from functools import lru_cache

import jwt

from blazechat.domain.auth.scopes import FULL_GRANT, Grant
from blazechat.errors import TokenExpired, Unauthenticated

LEEWAY_SECONDS = 5
"""The tolerated difference between the clocks of nodes."""
MAX_TOKEN_CHARACTERS = 2048
MAX_ID = 2**63 - 1
CACHED_TOKENS = 16_384
"""Tokens whose signature is not verified again. Expiry is checked on every use."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The verified content of a token."""

    user_id: int
    session_id: int
    expires_at: int
    """In Unix seconds."""
    grant: Grant = FULL_GRANT


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 of a random secret: the only form in which the database stores it."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()


class AccessTokens:
    """Issues and verifies tokens with one key."""

    def __init__(self, key: str, algorithm: str, lifetime_seconds: int) -> None:
        self.lifetime_seconds = lifetime_seconds
        self._key = key
        self._algorithm = algorithm
        self._decode = lru_cache(CACHED_TOKENS)(self._decode_once)

    def issue(self, user_id: int, session_id: int) -> str:
        """Return a new token of a session."""
        now = int(time.time())
        claims = {
            "sub": str(user_id),
            "user_id": user_id,  # from this, clients of the original API know who is logged in
            "sid": session_id,
            "typ": "access",
            "jti": secrets.token_urlsafe(6),
            "iat": now,
            "exp": now + self.lifetime_seconds,
        }
        return jwt.encode(claims, self._key, self._algorithm)

    def verify(self, token: str) -> Claims:
        """Return the claims of a token. Raises Unauthenticated or TokenExpired.

        The token's session might have ended: `access.authenticate()` checks it in the database.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated
        claims = self._decode(token)
        if claims.expires_at + LEEWAY_SECONDS <= time.time():
            raise TokenExpired
        return claims

    def _decode_once(self, token: str) -> Claims:
        try:
            # Only the configured algorithm: the one in the token's header is chosen by an attacker.
            payload = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                options={"require": ["exp", "iat", "sub", "sid", "typ"], "verify_exp": False},
                leeway=LEEWAY_SECONDS,
            )
            user_id, session_id, expires_at = int(payload["sub"]), payload["sid"], payload["exp"]
            is_valid = payload["typ"] == "access" and all(
                type(number) is int and 0 < number <= MAX_ID for number in (user_id, session_id, expires_at)
            )
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
            raise Unauthenticated(
                "This is not an access token of this server. Log in to get one."
            ) from error
        if not is_valid:
            raise Unauthenticated("This is not an access token of this server. Log in to get one.")
        return Claims(user_id, session_id, expires_at)
