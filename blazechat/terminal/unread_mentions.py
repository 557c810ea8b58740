"""Counts the unread messages of a group that mention this account."""

from blazechat.client import BlazeChatError, ChatState, Client
from blazechat.terminal.mentions import has_mention

MAX_LOADED_CHATS = 30
MAX_LOADED_MESSAGES = 50
"""Unread messages per chat that are loaded to find mentions; more might have arrived while offline."""


class UnreadMentions:
    """The mentions of one account. In a direct chat every message is for it, so none counts there."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._counts: dict[int, tuple[tuple[int, int, int], int]] = {}  # by chat, with what they depend on

    def count(self, chat: ChatState) -> int:
        """Return the number of mentions among the loaded messages after the read cursor."""
        if not chat.unread or not chat.is_group or self._client.me is None:
            return 0
        depends_on = (chat.version, chat.read_id, len(chat.messages))
        known, count = self._counts.get(chat.id, (None, 0))
        if known != depends_on:
            username = self._client.me.username
            count = sum(
                message.id > chat.read_id
                and message.user_id != chat.my_id
                and message.deleted_at is None
                and has_mention(message.content, username)
                for message in chat.messages.values()
            )
            self._counts[chat.id] = depends_on, count
        return count

    async def load(self) -> None:
        """Load the unread messages of the groups with the latest ones, so that their mentions count."""
        groups = [
            chat
            for chat in self._client.state.chats_by_activity()
            if chat.is_group and chat.unread and chat.loaded_from > chat.read_id + 1
        ]
        for chat in groups[:MAX_LOADED_CHATS]:
            missing = chat.loaded_from - chat.read_id - 1
            try:
                await self._client.load_older(chat.id, min(missing, MAX_LOADED_MESSAGES))
            except BlazeChatError:
                continue  # the badge counts what is loaded
