"""Bots and API tokens: the accounts of programs, and the tokens that they log in with (docs/api.md)."""

from collections.abc import Sequence

from blazechat.client.resources import Resource
from blazechat.client.schemas import ApiToken, Bot
from blazechat.vocabulary import Scope


class BotsResource(Resource):
    """The account's bots: accounts without a password."""

    async def create(self, username: str, *, display_name: str | None = None) -> Bot:
        """Create a bot. `client.tokens.create(bot_id=…)` creates a token for it."""
        body = {"username": username, "display_name": display_name}
        return await self._http.request("POST", "/api/bots", Bot, body=body)

    async def list_all(self) -> list[Bot]:
        """Return all bots, the oldest first."""
        return await self._http.request("GET", "/api/bots", list[Bot])

    async def update(
        self, bot_id: int, *, username: str | None = None, display_name: str | None = None
    ) -> Bot:
        """Change the fields that are not None."""
        body = {"username": username, "display_name": display_name}
        return await self._http.request("PUT", f"/api/bots/{bot_id}", Bot, body=body)

    async def delete(self, bot_id: int) -> None:
        """Delete a bot. Its tokens are revoked, and it leaves its groups. Its messages and name stay."""
        await self._http.delete(f"/api/bots/{bot_id}")


class TokensResource(Resource):
    """API tokens of this account and its bots. Pass one to `client.use_token()`."""

    async def create(
        self,
        name: str,
        *,
        scope: Scope = Scope.WRITE,
        chat_ids: Sequence[int] | None = None,
        days: int | None = None,
        bot_id: int | None = None,
    ) -> ApiToken:
        """Create a token. Only this call returns its `token`.

        It permits `scope`, in all chats or in `chat_ids`, for `days` or until it is revoked.
        """
        body = {
            "name": name,
            "scope": scope,
            "chat_ids": None if chat_ids is None else list(chat_ids),
            "days": days,
            "bot_id": bot_id,
        }
        return await self._http.request("POST", "/api/tokens", ApiToken, body=body)

    async def list_all(self, *, bot_id: int | None = None) -> list[ApiToken]:
        """Return the valid tokens of a bot, or of this account, the newest first."""
        query = {"bot_id": bot_id}
        return await self._http.request("GET", "/api/tokens", list[ApiToken], query=query)

    async def revoke(self, token_id: int) -> None:
        """Revoke a token. It is invalid from then on."""
        await self._http.delete(f"/api/tokens/{token_id}")
