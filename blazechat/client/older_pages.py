"""Loads pages of older messages into the state."""

import asyncio

from blazechat.client.resources import MessagesResource
from blazechat.client.schemas import Message, Page
from blazechat.client.state import State

PAGE_MESSAGES = 50


class OlderPages:
    """Loads one page per chat at a time. Concurrent callers wait for the same page."""

    def __init__(self, state: State, messages: MessagesResource) -> None:
        self._state, self._messages = state, messages
        self._tasks: dict[int, asyncio.Task[int]] = {}

    async def load(self, chat_id: int, limit: int = PAGE_MESSAGES) -> int:
        """Load up to `limit` messages before the chat's oldest one in the state. Returns their number.

        Raises NotFound, Unreachable and the server's other errors.
        """
        task = self._tasks.get(chat_id)
        if task is None:
            task = self._tasks[chat_id] = asyncio.create_task(self._load(chat_id, limit))
            task.add_done_callback(lambda _: self._tasks.pop(chat_id, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, chat_id: int, limit: int) -> int:
        while True:
            chat = self._state.chats.get(chat_id)
            if chat is None or chat.has_all_messages:
                return 0
            page: Page[Message] | None = None
            chat.begin_page()
            try:
                page = await self._messages.page(chat_id, before=chat.loaded_from, limit=limit)
            finally:
                chat.finish_page(page)
            if self._state.chats.get(chat_id) is chat:  # else the chat was reloaded: load the page again
                return len(page)
