"""Uploads give way to messages: who goes on when."""

import asyncio
import time

from blazechat.domain.files.upload_pacing import LIVELY, UploadPacer


async def test_one_in_each_turn_of_the_loop_in_the_order_of_their_coming() -> None:
    line, through = UploadPacer(0, time.monotonic), list[int]()

    async def bring(number: int) -> None:
        await line.wait(1_000_000_000)
        through.append(number)

    bringing = [asyncio.create_task(bring(number)) for number in range(5)]
    while len(through) < 5:
        before = len(through)
        await asyncio.sleep(0)
        assert len(through) - before <= 1
    assert through == [0, 1, 2, 3, 4]
    await asyncio.gather(*bringing)


async def test_paced_while_people_chat() -> None:
    """Four chunks have gone through before the fifth, each with its share of a second."""
    line, began = UploadPacer(20_000, time.monotonic), time.monotonic()
    await asyncio.gather(*(line.wait(1_000) for _ in range(5)))
    assert time.monotonic() - began >= 4 * 1_000 / 20_000


async def test_not_paced_when_nobody_says_anything() -> None:
    line = UploadPacer(1, lambda: -LIVELY)
    async with asyncio.timeout(30):
        for _ in range(100):
            await line.wait(1_000)


async def test_whoever_goes_away_holds_nobody_up() -> None:
    line = UploadPacer(0, time.monotonic)
    gone, there = (asyncio.create_task(line.wait(1)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    async with asyncio.timeout(30):
        await there
        await line.wait(1)
