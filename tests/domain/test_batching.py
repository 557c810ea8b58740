"""Batching: every call gets its own result, and a failure affects its own batch only."""

import asyncio

import pytest

from blazechat.domain.batching import Batcher
from blazechat.errors import InternalError, NotFound, ShuttingDown


async def test_each_call_gets_its_own_result_and_a_failure_affects_its_batch_only() -> None:
    """An unexpected exception fails the calls of its batch with InternalError; the next batch runs."""
    batches: list[list[int]] = []

    async def handle(keys: list[int]) -> list[int | NotFound]:
        batches.append(keys)
        await asyncio.sleep(0)
        if 1 in keys:
            raise ZeroDivisionError
        return [NotFound() if key == 3 else 10 * key for key in keys]

    batcher: Batcher[int, int] = Batcher(handle, size=2)
    calls = [batcher.submit(key) for key in range(1, 6)]
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert [type(result) for result in results[:3]] == [InternalError, InternalError, NotFound]
    assert results[3:] == [40, 50]
    assert batches == [[1, 2], [3, 4], [5]]
    assert await batcher.submit(7) == 70
    await batcher.close()
    with pytest.raises(ShuttingDown):
        batcher.submit(8)
