"""Sweeps up what nobody needs any more: files, from the database first, then from the storage; old logs.

What is found in the database is what there is: each object in the storage has its row before it is written
and until it is removed. So a sweep that is killed anywhere is done again, and nothing has to be listed.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.files import attachments
from blazechat.domain.files.piece_writer import PIECE
from blazechat.errors import Error
from blazechat.media.storage import Storage

log = structlog.get_logger("blazechat.sweeper")

PAUSE = 20.0
"""Seconds between sweeps."""
AT_ONCE = 200
REST = 0.1
"""Seconds between two removals of a few megabytes, while people chat."""
CHATLESS = text("""
DELETE FROM webhooks w
WHERE chat_id IS NOT NULL AND NOT EXISTS (SELECT FROM chats WHERE id = w.chat_id) AND (
    disabled_at IS NOT NULL
    OR NOT EXISTS (SELECT FROM deliveries WHERE webhook_id = w.id AND state = 'waiting')
)
""")
"""What still waits for one that was disabled is then nobody's, too."""
HOOKLESS = text("""
WITH RECURSIVE hooks AS (
    (SELECT webhook_id AS id FROM deliveries WHERE state = 'waiting' ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT n.id FROM hooks h CROSS JOIN LATERAL (
        SELECT webhook_id AS id FROM deliveries WHERE state = 'waiting' AND webhook_id > h.id
        ORDER BY webhook_id LIMIT 1
    ) n
), gone AS (
    SELECT id FROM hooks WHERE NOT EXISTS (SELECT FROM webhooks WHERE id = hooks.id) LIMIT 1
), nobodys AS (
    SELECT d.chat_id, d.id FROM gone, deliveries d
    WHERE d.webhook_id = gone.id AND d.state = 'waiting' LIMIT :at_once
)
DELETE FROM deliveries d USING nobodys n WHERE d.chat_id = n.chat_id AND d.id = n.id RETURNING d.id
""")
"""What waits for one that was deleted: written at the same moment, or left by CHATLESS."""
UNCOUNTED = timedelta(hours=24)
"""Age at which a piece that never counted is nobody's: no request lives as long."""


class Sweeper:
    def __init__(
        self,
        database: Database,
        storage: Storage,
        *,
        keep_log: timedelta,
        gives_way: Callable[[], bool],
        pause: float = PAUSE,
    ) -> None:
        self._database = database
        self._storage = storage
        self._gives_way = gives_way
        self._keep_log = keep_log
        self._pause = pause
        self._task: asyncio.Task[None] | None = None  # set while started

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="sweeper")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def sweep(self) -> int:
        """Sweep once; how many files and pieces were found. Raises Unavailable, StorageAway."""
        return await self._log() + await self._expired() + await self._loose() + await self._uncounted()

    async def _run(self) -> None:
        while True:
            try:
                found = await self.sweep()
            except Error as error:
                log.warning("sweeping failed, trying again", reason=error.detail)
                found = 0
            except Exception:
                log.exception("sweeping failed, trying again")
                found = 0
            if found < AT_ONCE:
                await asyncio.sleep(self._pause)

    async def _log(self) -> int:
        """What webhooks were told long ago; and webhooks whose chat is gone, once they were told of it."""
        old = tables.Delivery.finished_at < func.now() - self._keep_log
        async with self._database.transaction() as session:
            await session.execute(CHATLESS)
            forgotten = await session.execute(HOOKLESS, {"at_once": AT_ONCE})
            some = select(tables.Delivery.id).where(old).limit(AT_ONCE)
            gone = await session.execute(
                delete(tables.Delivery)
                .where(tables.Delivery.id.in_(some.scalar_subquery()), old)
                .returning(tables.Delivery.id)
            )
            over = tables.CommandReply.expires_at < func.now()
            await session.execute(delete(tables.CommandReply).where(over))
        return len(gone.all()) + len(forgotten.all())

    async def _expired(self) -> int:
        """Uploads that do not go on, and files that no message has."""
        async with self._database.transaction() as session:
            over = select(tables.Media.id).where(tables.Media.expires_at < func.now()).limit(AT_ONCE)
            media_ids = sorted(await session.scalars(over.with_for_update(skip_locked=True)))
            await attachments.remove(session, media_ids)
        return len(media_ids)

    async def _loose(self) -> int:
        """Contents that no file has any more."""
        async with self._database.transaction() as session:
            suspects = set(
                await session.scalars(
                    select(tables.Blob.id)
                    .where(tables.Blob.loose_at.is_not(None))
                    .order_by(tables.Blob.loose_at)
                    .limit(AT_ONCE)
                    .with_for_update(skip_locked=True)
                )
            )
            # A statement of its own: the next one then sees who has taken such a content before the lock.
            needed = set(
                await session.scalars(
                    select(tables.Media.blob_id).where(tables.Media.blob_id.in_(suspects)).distinct()
                )
            )
            for blob_ids, now in ((needed, {"loose_at": None}), (suspects - needed, {"digest": None})):
                await session.execute(update(tables.Blob).where(tables.Blob.id.in_(blob_ids)).values(now))
        await self._remove(suspects - needed)
        return len(suspects)

    async def _remove(self, blob_ids: set[int]) -> None:
        """Without a digest nobody can take them. A piece that may still be written is left for later."""
        settled = (
            tables.Piece.blob_id.in_(blob_ids),
            tables.Piece.stored | (tables.Piece.created_at < func.now() - UNCOUNTED),
        )
        async with self._database.transaction() as session:
            sizes = await _sizes(session, *settled)
        await self._delete(sizes)
        async with self._database.transaction() as session:
            await session.execute(delete(tables.Piece).where(tables.Piece.key.in_(sizes)))
            left = select(tables.Piece.key).where(tables.Piece.blob_id == tables.Blob.id).exists()
            of_these = tables.Blob.id.in_(blob_ids)
            await session.execute(delete(tables.Blob).where(of_these, ~left))
            await session.execute(update(tables.Blob).where(of_these).values(loose_at=func.now()))

    async def _uncounted(self) -> int:
        """Pieces that were written, or perhaps not, when something was killed."""
        old = (~tables.Piece.stored, tables.Piece.created_at < func.now() - UNCOUNTED)
        async with self._database.transaction() as session:
            sizes = await _sizes(session, *old, at_once=AT_ONCE)
        await self._delete(sizes)
        async with self._database.transaction() as session:
            await session.execute(delete(tables.Piece).where(tables.Piece.key.in_(sizes), *old))
        return len(sizes)

    async def _delete(self, sizes: Mapping[str, int]) -> None:
        """Remove objects; a few megabytes at a time while people chat.

        Many at once hold up the disk, and with it the ledger: by 0.1 s and more where it is told of each
        block that is free again (`discard`).
        """
        some, size = [], 0
        for key in sizes:
            some.append(key)
            size += sizes[key]
            if size >= PIECE or len(some) >= AT_ONCE:
                await self._storage.delete(some)
                some, size = [], 0
                if self._gives_way():
                    await asyncio.sleep(REST)
        await self._storage.delete(some)


async def _sizes(
    session: AsyncSession, *of_these: ColumnElement[bool], at_once: int | None = None
) -> dict[str, int]:
    """Pieces by their keys."""
    rows = await session.execute(
        select(tables.Piece.key, tables.Piece.size).where(*of_these).limit(at_once)
    )
    return {row.key: row.size for row in rows}
