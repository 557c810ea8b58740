"""Sends the outbox over a live connection."""

import asyncio
import random

from blazechat.client.errors import ApiError
from blazechat.client.outbox import Outbox
from blazechat.client.socket import LiveConnection
from blazechat.client.state import State


class OutboxSender:
    """Sends the messages of each chat in order and one at a time; all chats in parallel."""

    def __init__(self, outbox: Outbox, state: State) -> None:
        self._outbox, self._state = outbox, state
        self._enqueued = asyncio.Event()

    def wake(self) -> None:
        """Call this after adding a message to the outbox."""
        self._enqueued.set()

    async def run(self, connection: LiveConnection, group: asyncio.TaskGroup) -> None:
        """Send until cancelled. Each chat's sends are a task of `group`."""
        busy: set[int] = set()  # chats that have a task
        while True:
            self._enqueued.clear()
            for chat_id in self._outbox.unsent_by_chat().keys() - busy:
                busy.add(chat_id)
                group.create_task(self._send_chat(connection, chat_id, busy))
            await self._enqueued.wait()

    async def _send_chat(self, connection: LiveConnection, chat_id: int, busy: set[int]) -> None:
        while (message := self._outbox.next_for(chat_id)) is not None:
            self._outbox.mark_sending(message)
            try:
                ack = await connection.send_command(
                    "send",
                    chat_id=chat_id,
                    content=message.content,
                    client_id=message.client_id,
                    reply_to=message.reply_to,
                    attachments=list(message.attachments),
                )
            except ApiError as error:
                if error.retry_after is None:
                    self._outbox.mark_failed(message, error)
                    continue
                await asyncio.sleep(error.retry_after * random.uniform(1, 1.5))  # noqa: S311
            else:
                assert ack.message_id is not None
                self._outbox.mark_sent(message, ack.message_id)
                chat = self._state.chats.get(chat_id)
                if chat is not None and chat.held_events is None:
                    self._outbox.confirm_up_to(chat_id, chat.last_message_id)
            finally:
                self._outbox.mark_waiting(message)  # unless it was sent or failed
        busy.discard(chat_id)
