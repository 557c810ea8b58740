"""The tasks that write the bytes of upload requests: at most one per upload, and each can be stopped.

A client whose connection broke returns before this server notices that. So a new request of the owner stops
the task of the old one, which stores what has arrived.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from blazechat.domain.files.piece_writer import PieceWriter
from blazechat.domain.files.upload_pacing import UploadPacer
from blazechat.errors import Busy, Error, OffsetConflict

MAX_TASKS = 32
MAX_TASKS_PER_USER = 12
STOP_SECONDS = 10.0
"""How long a task that is stopped may take to store what has arrived."""

OpenWriter = Callable[[], Awaitable[PieceWriter]]


@dataclass(frozen=True, slots=True)
class UploadTask:
    """A request to this server whose bytes are being written."""

    user_id: int
    task: asyncio.Task[PieceWriter]


class UploadTasks:
    """Runs the tasks of this server's upload requests, at the pace of `pacer`."""

    def __init__(self, pacer: UploadPacer) -> None:
        self._pacer = pacer
        self._active: dict[int, UploadTask] = {}  # by media id

    @property
    def media_ids(self) -> set[int]:
        """The ids of the uploads whose bytes are arriving now."""
        return set(self._active)

    async def run(
        self, user_id: int, media_id: int, open_writer: OpenWriter, chunks: AsyncIterator[bytes]
    ) -> PieceWriter:
        """Write the chunks of a request to an upload, and return the writer.

        Raises Busy, OffsetConflict if another request stops this one, and the errors of `open_writer()`, of
        the writer and of the chunks.
        """
        self._require_slot(user_id, media_id)
        task = asyncio.create_task(self._write(open_writer, chunks), name="upload")
        self._active[media_id] = UploadTask(user_id, task)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                task.cancel()
                await asyncio.wait([task])
                raise
            raise OffsetConflict("The upload continues in another request.") from None
        finally:
            del self._active[media_id]

    async def stop(self, user_id: int, media_id: int) -> None:
        """Stop a request of this user that writes to the upload."""
        active = self._active.get(media_id)
        if active is not None and active.user_id == user_id:
            await _stop(active)

    async def close(self) -> None:
        """Stop all requests. What has arrived is kept."""
        await asyncio.gather(*(_stop(active) for active in list(self._active.values())))

    def _require_slot(self, user_id: int, media_id: int) -> None:
        of_user = sum(active.user_id == user_id for active in self._active.values())
        if len(self._active) >= MAX_TASKS or of_user >= MAX_TASKS_PER_USER or media_id in self._active:
            raise Busy("Too many concurrent uploads; try again in a moment.")

    async def _write(self, open_writer: OpenWriter, chunks: AsyncIterator[bytes]) -> PieceWriter:
        writer = await open_writer()
        try:
            async for chunk in chunks:
                await self._pacer.wait(len(chunk))
                if writer.add(chunk):
                    await _run_to_end(writer.flush())
        except BaseException:
            await _run_to_end(writer.save_interrupted())
            raise
        await _run_to_end(writer.finish())
        return writer


async def _stop(active: UploadTask) -> None:
    active.task.cancel()
    await asyncio.wait([active.task], timeout=STOP_SECONDS)
    await asyncio.sleep(0)  # so that the request that waits for the task continues first


async def _run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end even if the caller is cancelled, and then raise the cancellation.

    A piece that is cancelled halfway would leave a gap.
    """
    task = asyncio.create_task(work)
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            is_cancelled = True
        except Error:
            break
    await task
    if is_cancelled:
        raise asyncio.CancelledError
