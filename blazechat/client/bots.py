"""Bots and API tokens: accounts and log-ins of programs (docs/api.md)."""

from collections.abc import Sequence

from blazechat.client.resources import Resource
from blazechat.client.schemas import ApiToken, Bot
from blazechat.vocabulary import Scope


class BotsResource(Resource):
    """One's own bots: accounts without a password."""

    async def create(self, username: str, *, display_name: str | None = None) -> Bot:
        """A new bot; `client.tokens.create(bot_id=…)` makes it a token."""
        body = {"username": username, "display_name": display_name}
        return await self._http.request("POST", "/api/bots", Bot, body=body)

    async def list_all(self) -> list[Bot]:
        """The oldest first."""
        return await self._http.request("GET", "/api/bots", list[Bot])

    async def update(
        self, bot_id: int, *, username: str | None = None, display_name: str | None = None
    ) -> Bot:
        """What is not None."""
        body = {"username": username, "display_name": display_name}
        return await self._http.request("PUT", f"/api/bots/{bot_id}", Bot, body=body)

    async def delete(self, bot_id: int) -> None:
        """Its tokens end and it leaves its groups; what it said stays, under its name."""
        await self._http.request("DELETE", f"/api/bots/{bot_id}", type(None))


class TokensResource(Resource):
    """API tokens of one's own account and of one's bots. `client.use_token()` takes one."""

    async def create(
        self,
        name: str,
        *,
        scope: Scope = Scope.WRITE,
        chat_ids: Sequence[int] | None = None,
        days: int | None = None,
        bot_id: int | None = None,
    ) -> ApiToken:
        """A token; its `token` is told this once. Without `days` it is good until it is revoked."""
        body = {
            "name": name,
            "scope": scope,
            "chat_ids": None if chat_ids is None else list(chat_ids),
            "days": days,
            "bot_id": bot_id,
        }
        return await self._http.request("POST", "/api/tokens", ApiToken, body=body)

    async def list_all(self, *, bot_id: int | None = None) -> list[ApiToken]:
        """Those that are good, the newest first; one's own, or a bot's."""
        query = {"bot_id": bot_id}
        return await self._http.request("GET", "/api/tokens", list[ApiToken], query=query)

    async def revoke(self, token_id: int) -> None:
        """It is worth nothing from then on."""
        await self._http.request("DELETE", f"/api/tokens/{token_id}", type(None))
