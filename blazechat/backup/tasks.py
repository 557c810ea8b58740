"""Runs the steps of a backup: several together, and all of them until a signal."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

CONCURRENT_COPIES = 8

T = TypeVar("T")


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end. SIGINT and SIGTERM cancel it, and raise KeyboardInterrupt afterwards."""

    async def main() -> T:
        this = asyncio.current_task()
        assert this is not None
        with suppress(ValueError, RuntimeError):  # only the main thread can handle signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run coroutines at the same time; return their results. The first error cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for all items, a few at a time. The first error cancels the rest."""
    remaining = iter(items)

    async def worker() -> None:
        for item in remaining:
            await work(item)

    await together(*(worker() for _ in range(CONCURRENT_COPIES)))


async def until_done(work: Coroutine[Any, Any, T], seconds: float, on_tick: Callable[[], None]) -> T:
    """Await a coroutine, and call `on_tick` every `seconds` meanwhile. It ends before this returns."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=seconds))[0]:
            on_tick()
        return await task
    finally:
        task.cancel()
        await asyncio.wait([task])
