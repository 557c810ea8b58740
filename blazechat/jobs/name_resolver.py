"""Resolves host names in dedicated threads; concurrent calls for one name share a lookup."""

import asyncio
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

LOOKUP_THREADS = 64
"""As many as there are concurrent webhook calls. Lookups of cancelled calls that still run are few."""


class NameResolver:
    """Calls `getaddrinfo` in a dedicated thread pool.

    So an attacker's slow name server cannot occupy the threads that the rest of the process shares. If all
    callers of a lookup are cancelled, it is dropped, unless it runs already: then it keeps its thread,
    because `getaddrinfo` cannot be interrupted.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, "webhook-names")
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host. Raises OSError, UnicodeError."""
        key = (host, port)
        lookup = self._lookups.get(key)
        if lookup is None:
            resolve = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            lookup = self._lookups[key] = _Lookup(self._threads.submit(resolve))
            lookup.addresses.add_done_callback(partial(self._finish, key))
        lookup.waiters += 1
        try:
            found = await asyncio.shield(lookup.addresses)
        finally:
            lookup.waiters -= 1
            if not lookup.waiters and lookup.thread_job.cancel():
                del self._lookups[key]
        return [str(address[0]) for *_, address in found]

    def _finish(self, key: tuple[str, int], addresses: asyncio.Future[list[Any]]) -> None:
        if not addresses.cancelled():
            del self._lookups[key]
            addresses.exception()  # marks it as retrieved: all callers might be gone

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Lookup:
    """A lookup in progress and the number of calls that wait for it."""

    def __init__(self, thread_job: Future[list[Any]]) -> None:
        self.thread_job = thread_job
        self.addresses = asyncio.wrap_future(thread_job)
        self.waiters = 0
