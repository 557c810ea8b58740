"""The names of authors in printed messages."""

from blazechat.client import Author, Client, Message
from blazechat.client.errors import NotFound
from blazechat.terminal import sanitize

BOT_MARK = " [bot]"
"""Follows the names of bots and webhooks, which choose them freely, so that none passes as a person."""


class AuthorNames:
    """Finds out once per author whether it is a bot."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._bots: dict[int, bool] = {}

    async def name_of(self, message: Message) -> str:
        """Return a person's user name. Of a bot, return the name in the message, which a webhook sets."""
        author = message.user
        if author.id not in self._bots:
            self._bots[author.id] = await self._is_bot(author)
        if self._bots[author.id]:
            return sanitize.line(author.display_name) + BOT_MARK
        return sanitize.line(author.username)

    async def _is_bot(self, author: Author) -> bool:
        try:
            return (await self._client.users.get(author.id)).is_bot
        except NotFound:  # deleted: a person has one name then, "deleted user"; a webhook keeps both names
            return author.display_name != author.username
