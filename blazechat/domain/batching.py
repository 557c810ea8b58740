"""Group work: calls that come while one is under way are answered together by the next.

The idea of the ledger for whatever is asked often and answered as cheaply for a hundred as for one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import structlog

from blazechat.errors import Busy, Error, InternalError, ShuttingDown

log = structlog.get_logger("blazechat.batches")

K = TypeVar("K")
V = TypeVar("V")

QUEUED = 100_000
"""Calls that may wait."""


class Batcher(Generic[K, V]):
    """`handle` takes up to `size` keys and gives a value, or an error to raise, for each in turn."""

    def __init__(
        self, handle: Callable[[list[K]], Awaitable[Sequence[V | Error]]], size: int = 500
    ) -> None:
        self._handle = handle
        self._size = size
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._task: asyncio.Task[None] | None = None  # set while there is something to do
        self._closed = False

    def ask(self, key: K) -> asyncio.Future[V]:
        """The value for `key`, sometime soon. Raises Busy or ShuttingDown at once."""
        if self._closed:
            raise ShuttingDown
        if len(self._waiting) >= QUEUED:
            raise Busy
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="batches")
        return future

    async def close(self) -> None:
        """Take no more calls; those that wait are answered."""
        self._closed = True
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
                await self._answer(batch)
        finally:
            self._task = None

    async def _answer(self, batch: list[tuple[K, asyncio.Future[V]]]) -> None:
        try:
            values = await self._handle([key for key, _ in batch])
        except BaseException as error:
            shown = error if isinstance(error, Error) else InternalError()
            for _, future in batch:
                if not future.done():
                    future.set_exception(shown)
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, Error):
                log.exception("a batch failed")
            return
        for (_, future), value in zip(batch, values, strict=True):
            if future.done():
                continue
            if isinstance(value, Error):
                future.set_exception(value)
            else:
                future.set_result(value)
