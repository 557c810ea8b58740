"""Password hashes (bcrypt), computed beside the chatting: in few threads, of low priority."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.bcrypt import BcryptHasher

from blazechat.errors import Busy, InvalidInput

T = TypeVar("T")

BCRYPT_LIMIT = 72
"""Bytes that bcrypt reads; what is beyond would not count, so it is refused."""
WAITING_LIMIT = 200
"""Hashes that may wait for a thread; more are told to come back."""
NICENESS = 10


class Passwords:
    """Hashes and verifies in `threads` threads; `rounds` is bcrypt's cost (OWASP asks for 10 or more)."""

    def __init__(self, *, rounds: int, threads: int, min_length: int) -> None:
        self._hash = PasswordHash((BcryptHasher(rounds=rounds),))
        self._min_length = min_length
        self._threads = ThreadPoolExecutor(threads, "password", initializer=_be_nice)
        self._waiting = 0
        # Somebody who does not exist: verifying against it costs what a real user's password does.
        self._nobody = self._hash.hash("a password that nobody has")

    def check(self, password: str, field: str = "password") -> None:
        """Raises InvalidInput unless this can be somebody's new password."""
        if len(password) < self._min_length:
            raise InvalidInput.of(field, f"A password has at least {self._min_length} characters.")
        if len(password.encode()) > BCRYPT_LIMIT:
            raise InvalidInput.of(
                field, f"A password has at most {BCRYPT_LIMIT} bytes (in UTF-8); this has more."
            )
        if "\0" in password:
            raise InvalidInput.of(field, "A password cannot contain the character NUL.")

    async def hash(self, password: str) -> str:
        """Raises InvalidInput as `check()` does, and Busy when too many are waiting."""
        self.check(password)
        return await self._in_thread(self._hash.hash, password)

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether this is the password; None for a user that does not exist takes the same time."""
        possible = len(password.encode()) <= BCRYPT_LIMIT and "\0" not in password
        attempt = password if possible else "not possible"
        right = await self._in_thread(self._hash.verify, attempt, hashed or self._nobody)
        return right and possible and hashed is not None

    async def _in_thread(self, function: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= WAITING_LIMIT:
            raise Busy("Too many people are logging in at once; try again in a moment.")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, function, *arguments)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _be_nice() -> None:
    # On Linux niceness is a thread's own; elsewhere this does nothing or is refused.
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
