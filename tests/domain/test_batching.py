"""Batches answer everybody, whatever becomes of one of them."""

import asyncio

import pytest

from blazechat.domain.batching import Batcher
from blazechat.errors import InternalError, NotFound, ShuttingDown


async def test_each_gets_its_own_answer_and_a_failure_is_its_batches_alone() -> None:
    """Also one that nobody has foreseen: those who came later are answered by the next."""
    handled: list[list[int]] = []

    async def handle(keys: list[int]) -> list[int | NotFound]:
        handled.append(keys)
        await asyncio.sleep(0)
        if 1 in keys:
            raise ZeroDivisionError
        return [NotFound() if key == 3 else 10 * key for key in keys]

    batches: Batcher[int, int] = Batcher(handle, size=2)
    asked = [batches.ask(key) for key in range(1, 6)]
    found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
    assert [type(each) for each in found[:3]] == [InternalError, InternalError, NotFound]
    assert found[3:] == [40, 50]
    assert handled == [[1, 2], [3, 4], [5]]
    assert await batches.ask(7) == 70
    await batches.close()
    with pytest.raises(ShuttingDown):
        batches.ask(8)
