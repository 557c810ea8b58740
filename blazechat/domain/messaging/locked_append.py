"""APPEND for one chat whose row another transaction holds: it waits for the row's lock.

Not compiled: it awaits the end of a transaction (docs/decisions/0011-compiled-core.md).
"""

from collections.abc import Sequence

import asyncpg

from blazechat.domain.messaging.append import append
from blazechat.domain.messaging.sends import QueuedSend, SendResult

LOCK = "SELECT FROM chats WHERE id = $1 FOR NO KEY UPDATE"


async def append_locked(
    connection: asyncpg.Connection, chat_id: int, sends: Sequence[QueuedSend]
) -> list[SendResult]:
    """Store sends to a chat in a transaction that locks its row first. Raises asyncpg's errors."""
    async with connection.transaction():
        await connection.execute(LOCK, chat_id)
        return await append(connection, sends)
