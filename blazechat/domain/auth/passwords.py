"""Password hashes (bcrypt), computed in a few threads of low priority, so that messages come first."""

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

MAX_PASSWORD_BYTES = 72
"""bcrypt ignores further bytes. Longer passwords are rejected, so that every byte counts."""
MAX_QUEUED_HASHES = 200
"""Hashes in the queue or in progress; further ones fail with `busy`."""
THREAD_NICENESS = 10


class Passwords:
    """Hashes and verifies in `threads` threads. `rounds` is bcrypt's cost (OWASP recommends 10 or more)."""

    def __init__(self, *, rounds: int, threads: int, min_length: int) -> None:
        self._hash = PasswordHash((BcryptHasher(rounds=rounds),))
        self._min_length = min_length
        self._threads = ThreadPoolExecutor(threads, "password", initializer=_lower_priority)
        self._queued = 0
        # For user names that do not exist: verifying against it takes as long as for those that do.
        self._dummy_hash = self._hash.hash("a password that nobody has")

    def check(self, password: str, field: str = "password") -> None:
        """Raises InvalidInput unless `password` is acceptable as a new password."""
        if len(password) < self._min_length:
            raise InvalidInput.of(
                field, f"A password has at least {self._min_length} characters. Use a longer one."
            )
        if len(password.encode()) > MAX_PASSWORD_BYTES:
            raise InvalidInput.of(
                field, f"A password has at most {MAX_PASSWORD_BYTES} bytes (in UTF-8). Use a shorter one."
            )
        if "\0" in password:
            raise InvalidInput.of(field, "A password cannot contain the character NUL.")

    async def hash(self, password: str) -> str:
        """Return the hash of a new password. Raises InvalidInput as `check()` does, and Busy."""
        self.check(password)
        return await self._in_thread(self._hash.hash, password)

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Return whether `password` matches the hash. Raises Busy.

        `hashed` is None for a user that does not exist. That takes the same time, so that a caller cannot
        find out which users exist.
        """
        is_possible = len(password.encode()) <= MAX_PASSWORD_BYTES and "\0" not in password
        attempt = password if is_possible else "not possible"
        is_match = await self._in_thread(self._hash.verify, attempt, hashed or self._dummy_hash)
        return is_match and is_possible and hashed is not None

    async def _in_thread(self, function: Callable[..., T], *arguments: str) -> T:
        if self._queued >= MAX_QUEUED_HASHES:
            raise Busy("Too many users are logging in at the same time. Try again in a moment.")
        self._queued += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, function, *arguments)
        finally:
            self._queued -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _lower_priority() -> None:
    # Niceness is a property of a thread only on Linux.
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), THREAD_NICENESS)
