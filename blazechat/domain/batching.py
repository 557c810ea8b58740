"""Group commit for other operations: calls that arrive while a batch runs form the next batch.

It suits operations that cost about the same for a hundred keys as for one. There is no timer: an idle
batcher runs a call immediately, and under load batches grow by themselves.
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

MAX_QUEUED_CALLS = 100_000


class Batcher(Generic[K, V]):
    """Runs one batch at a time.

    `handle` takes up to `size` keys. It returns a value per key, in the same order, or an error to raise
    for it.
    """

    def __init__(
        self, handle: Callable[[list[K]], Awaitable[Sequence[V | Error]]], size: int = 500
    ) -> None:
        self._handle = handle
        self._size = size
        self._queue: list[tuple[K, asyncio.Future[V]]] = []
        self._task: asyncio.Task[None] | None = None  # set while calls are queued or running
        self._closed = False

    def submit(self, key: K) -> asyncio.Future[V]:
        """Queue a call; the future returns the value for `key`, or raises its error.

        If the whole batch fails, the future raises the error of the batch, or InternalError if that is not
        an `Error`. Raises at once Busy or ShuttingDown.
        """
        if self._closed:
            raise ShuttingDown
        if len(self._queue) >= MAX_QUEUED_CALLS:
            raise Busy
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._queue.append((key, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="batches")
        return future

    async def close(self) -> None:
        """Accept no more calls, and finish the queued ones."""
        self._closed = True
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue[: self._size], self._queue[self._size :]
                await self._run_batch(batch)
        finally:
            self._task = None

    async def _run_batch(self, batch: list[tuple[K, asyncio.Future[V]]]) -> None:
        try:
            values = await self._handle([key for key, _ in batch])
        except BaseException as error:
            raised = error if isinstance(error, Error) else InternalError()
            for _, future in batch:
                if not future.done():
                    future.set_exception(raised)
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, Error):
                log.exception("batch failed", calls=len(batch))
            return
        for (_, future), value in zip(batch, values, strict=True):
            if future.done():  # the caller was cancelled
                continue
            if isinstance(value, Error):
                future.set_exception(value)
            else:
                future.set_result(value)
