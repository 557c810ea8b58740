"""Upload pacing: uploads give way to messages, in the order in which they arrive."""

import asyncio
import time

from blazechat.domain.files.upload_pacing import CHAT_ACTIVE_SECONDS, UploadPacer


async def test_one_upload_continues_per_loop_turn_in_order_of_arrival() -> None:
    pacer, continued = UploadPacer(0, time.monotonic), list[int]()

    async def upload(number: int) -> None:
        await pacer.wait(1_000_000_000)
        continued.append(number)

    uploads = [asyncio.create_task(upload(number)) for number in range(5)]
    while len(continued) < 5:
        before = len(continued)
        await asyncio.sleep(0)
        assert len(continued) - before <= 1
    assert continued == [0, 1, 2, 3, 4]
    await asyncio.gather(*uploads)


async def test_uploads_are_paced_while_chats_are_active() -> None:
    """Before the fifth chunk, four chunks have each taken their share of a second."""
    pacer, started_at = UploadPacer(20_000, time.monotonic), time.monotonic()
    await asyncio.gather(*(pacer.wait(1_000) for _ in range(5)))
    assert time.monotonic() - started_at >= 4 * 1_000 / 20_000


async def test_uploads_are_not_paced_while_chats_are_idle() -> None:
    pacer = UploadPacer(1, lambda: -CHAT_ACTIVE_SECONDS)
    async with asyncio.timeout(30):
        for _ in range(100):
            await pacer.wait(1_000)


async def test_cancelled_upload_does_not_delay_others() -> None:
    pacer = UploadPacer(0, time.monotonic)
    cancelled, other = (asyncio.create_task(pacer.wait(1)) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    async with asyncio.timeout(30):
        await other
        await pacer.wait(1)
