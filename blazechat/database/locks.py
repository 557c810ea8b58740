"""The advisory lock that keeps objects in the file storage while a backup copies them.

A backup holds it shared from before its snapshot on. Code that deletes objects commits first that the
database does not refer to them any more, then asks `may_delete_objects()`. If no backup holds the lock at
that moment, a later snapshot does not refer to the objects either.
"""

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

OBJECTS_LOCK_ID = 0x6F626A65637473
"""The bytes of "objects": key of the lock."""


async def hold_objects(connection: asyncpg.Connection) -> None:
    """Take the lock until the end of the connection's transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", OBJECTS_LOCK_ID)


async def may_delete_objects(session: AsyncSession) -> bool:
    """Return False while a backup copies objects. Callers delete later then."""
    lock = text("SELECT pg_try_advisory_xact_lock(:lock)")
    return bool(await session.scalar(lock, {"lock": OBJECTS_LOCK_ID}))
