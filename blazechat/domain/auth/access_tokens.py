"""Access tokens: short-lived JWTs (RFC 7519) that name a user and a session."""

import hashlib
import secrets
import time
from dataclasses import dataclass
from functools import lru_cache

import jwt

from blazechat.domain.auth.scopes import EVERYTHING, Grant
from blazechat.errors import TokenExpired, Unauthenticated

LEEWAY = 5
"""Seconds by which clocks of several nodes may differ."""
LONGEST = 2048
LARGEST = 2**63 - 1
REMEMBERED = 16_384
"""Tokens whose signature is not computed again; an entry is worth nothing once it has expired."""


@dataclass(frozen=True, slots=True)
class Claims:
    user_id: int
    session_id: int
    expires_at: int
    """Seconds since 1970."""
    grant: Grant = EVERYTHING


def hashed(secret: str) -> bytes:
    """What the database knows of a random secret: SHA-256."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()


class AccessTokens:
    """Issues and checks tokens with one key. `lifetime` in seconds."""

    def __init__(self, key: str, algorithm: str, lifetime: int) -> None:
        self.lifetime = lifetime
        self._key = key
        self._algorithm = algorithm
        self._decode = lru_cache(REMEMBERED)(self._decode_once)

    def issue(self, user_id: int, session_id: int) -> str:
        now = int(time.time())
        claims = {
            "sub": str(user_id),
            "sid": session_id,
            "typ": "access",
            "jti": secrets.token_urlsafe(6),
            "iat": now,
            "exp": now + self.lifetime,
        }
        return jwt.encode(claims, self._key, self._algorithm)

    def verify(self, token: str) -> Claims:
        """What the token says, if we signed it and it has not expired.

        Says nothing about its session, which may have ended: `access.caller()` asks the database.
        Raises Unauthenticated or TokenExpired.
        """
        if len(token) > LONGEST:
            raise Unauthenticated
        claims = self._decode(token)
        if claims.expires_at + LEEWAY <= time.time():
            raise TokenExpired
        return claims

    def _decode_once(self, token: str) -> Claims:
        try:
            # One algorithm, ours: what the token's own header asks for is never followed.
            found = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                options={"require": ["exp", "iat", "sub", "sid", "typ"], "verify_exp": False},
                leeway=LEEWAY,
            )
            user_id, session_id, expires_at = int(found["sub"]), found["sid"], found["exp"]
            well_formed = found["typ"] == "access" and all(
                type(number) is int and 0 < number <= LARGEST
                for number in (user_id, session_id, expires_at)
            )
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
            raise Unauthenticated("The access token is not one of ours.") from error
        if not well_formed:
            raise Unauthenticated("The access token is not one of ours.")
        return Claims(user_id, session_id, expires_at)
