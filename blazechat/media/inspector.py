"""Inspects uploaded files in worker processes (worker.py): decoders of untrusted bytes can fail badly."""

from collections.abc import Callable, Sequence

import msgspec

from blazechat.errors import UnreadableFile
from blazechat.media.worker_pool import IDLE_SECONDS, WorkerDied, WorkerPool, WorkerTimedOut
from blazechat.media.worker_process import WorkerProgram
from blazechat.media.worker_protocol import FileInfo, InspectionJob, RejectedFile

TIMED_OUT = "Inspecting the file took too long."
FAILED = "The file cannot be read: inspecting it failed."

PROGRAM: WorkerProgram[FileInfo | RejectedFile] = WorkerProgram(
    "media worker", "blazechat.media.worker", msgspec.msgpack.Decoder(FileInfo | RejectedFile)
)


class Inspector:
    """Inspects files in up to `processes` workers with these limits (WorkerPool).

    Images of more than `max_pixels` are rejected.
    """

    def __init__(
        self,
        *,
        processes: int,
        job_seconds: float,
        memory_bytes: int,
        max_pixels: int,
        idle_seconds: float = IDLE_SECONDS,
        is_chat_active: Callable[[], bool] = lambda: False,
    ) -> None:
        self._max_pixels = max_pixels
        self._pool = WorkerPool(
            PROGRAM,
            processes=processes,
            job_seconds=job_seconds,
            memory_bytes=memory_bytes,
            idle_seconds=idle_seconds,
            is_chat_active=is_chat_active,
        )

    async def inspect(self, size: int, head: Sequence[bytes], tail: Sequence[bytes] = ()) -> FileInfo:
        """Inspect a file of `size` bytes by its head and tail, both in chunks.

        The head of an image must be the whole file. Raises UnreadableFile, PoolBusy or ShuttingDown.
        """
        job = InspectionJob(size, sum(map(len, head)), sum(map(len, tail)), self._max_pixels)
        try:
            result = await self._pool.run(job, [*head, *tail])
        except WorkerTimedOut:
            raise UnreadableFile(TIMED_OUT) from None
        except WorkerDied as error:
            raise UnreadableFile(FAILED) from error
        if isinstance(result, RejectedFile):
            raise UnreadableFile(result.reason)
        if any(not 0 <= patch.offset <= size - len(patch.content) for patch in result.patches):
            raise UnreadableFile(FAILED)
        return result

    async def close(self) -> None:
        """End all workers. Running and queued jobs raise ShuttingDown."""
        await self._pool.close()
