"""The sweeper: deletes what is not needed any more, such as expired files, orphaned objects and old logs.

Every object in the storage has a row in the database from before it is written until after it is deleted.
So the sweeper never lists the storage, and repeats a sweep that was killed at any point.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

import structlog

from blazechat.database.engine import Database
from blazechat.database.locks import may_delete_objects
from blazechat.domain.files import garbage
from blazechat.domain.files.piece_writer import PIECE_BYTES
from blazechat.domain.integrations import slash_commands
from blazechat.domain.webhooks import delivery_log, webhooks
from blazechat.errors import Error
from blazechat.media.storage import Storage

log = structlog.get_logger("blazechat.sweeper")

SWEEP_SECONDS = 20.0
"""Interval between sweeps."""
BATCH_ROWS = 200
DELETE_PAUSE_SECONDS = 0.1
"""Between two deletions of a few megabytes, while chat is active."""


class Sweeper:
    """Sweeps every `pause_seconds`, or without a pause while there is a full batch.

    The webhook log is kept for `log_retention`. While `is_chat_active()` is true, objects are deleted
    slowly.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        *,
        log_retention: timedelta,
        is_chat_active: Callable[[], bool],
        pause_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._database = database
        self._storage = storage
        self._log_retention = log_retention
        self._is_chat_active = is_chat_active
        self._pause_seconds = pause_seconds
        self._task: asyncio.Task[None] | None = None  # set while started

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="sweeper")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def sweep(self) -> int:
        """Sweep once. Returns how many rows were found; 0 if nothing is left. Raises Unavailable,
        StorageAway."""
        return (
            await self._sweep_webhooks()
            + await self._sweep_files()
            + await self._sweep_blobs()
            + await self._sweep_pieces()
        )

    async def _run(self) -> None:
        while True:
            try:
                found = await self.sweep()
            except Error as error:
                log.warning("sweep failed, trying again", reason=error.detail)
                found = 0
            except Exception:
                log.exception("sweep failed, trying again")
                found = 0
            if found < BATCH_ROWS:
                await asyncio.sleep(self._pause_seconds)

    async def _sweep_webhooks(self) -> int:
        """Delete old deliveries, webhooks and deliveries without an owner, and expired reply URLs."""
        async with self._database.transaction() as session:
            await webhooks.delete_orphaned(session)
            orphaned = await delivery_log.delete_orphaned(session, BATCH_ROWS)
            expired = await delivery_log.delete_expired(session, self._log_retention, BATCH_ROWS)
            await slash_commands.delete_expired_replies(session)
        return orphaned + expired

    async def _sweep_files(self) -> int:
        async with self._database.transaction() as session:
            return await garbage.delete_expired_files(session, BATCH_ROWS)

    async def _sweep_blobs(self) -> int:
        """Delete contents that no file uses."""
        async with self._database.transaction() as session:
            found, unused = await garbage.take_loose_blobs(session, BATCH_ROWS)
        async with self._database.transaction() as session:
            if not await may_delete_objects(session):
                return 0  # they stay loose; a later sweep finds them again
            sizes = await garbage.pieces_of_blobs(session, unused)
        await self._delete_objects(sizes)
        async with self._database.transaction() as session:
            await garbage.delete_blobs(session, unused, sizes)
        return found

    async def _sweep_pieces(self) -> int:
        """Delete pieces that were never marked as stored."""
        async with self._database.transaction() as session:
            if not await may_delete_objects(session):
                return 0
            sizes = await garbage.abandoned_pieces(session, BATCH_ROWS)
        await self._delete_objects(sizes)
        async with self._database.transaction() as session:
            await garbage.delete_abandoned_pieces(session, sizes)
        return len(sizes)

    async def _delete_objects(self, sizes: Mapping[str, int]) -> None:
        """Delete objects by key, a few megabytes at a time while chat is active.

        Deleting many at the same time blocks the disk, and with it the ledger: by 0.1 s and more if the
        file system reports each freed block to the device (`discard`).
        """
        batch: list[str] = []
        batch_bytes = 0
        for key, size in sizes.items():
            batch.append(key)
            batch_bytes += size
            if batch_bytes >= PIECE_BYTES or len(batch) >= BATCH_ROWS:
                await self._storage.delete(batch)
                batch, batch_bytes = [], 0
                if self._is_chat_active():
                    await asyncio.sleep(DELETE_PAUSE_SECONDS)
        await self._storage.delete(batch)
