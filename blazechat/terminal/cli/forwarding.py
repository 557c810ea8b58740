"""Has the events of one's chats told to a URL on this machine, signed as the server signs its webhooks.

For developing a receiver on a laptop, which no server could call. What happens while the connection is lost
is told after it, each message as it is then.
"""

import asyncio
import base64
import secrets
import sys
import time
from collections.abc import Collection

import httpx2
import msgspec

from blazechat import signing
from blazechat.client import Client, NotConnected, Unreachable, errors
from blazechat.client.frames import ChatFrame, Reset, Synced
from blazechat.client.socket import ConnectionClosed, Connection, open_connection
from blazechat.terminal import sanitize
from blazechat.terminal.accounts import DEVICE_NAME
from blazechat.terminal.cli import scripting

EVENT_TYPES = (
    "message.created",
    "message.updated",
    "message.deleted",
    "chat.created",
    "chat.updated",
    "chat.deleted",
    "member.added",
    "member.removed",
    "member.updated",
)
TIMEOUT_SECONDS = 15.0
RECONNECT_SECONDS = 1.0
"""Seconds between attempts to connect."""
FINAL_CLOSE_CODES = (4401, 4404)
"""Close codes after which it makes no sense to come back."""


class _EventHead(msgspec.Struct):
    type: str
    chat_id: int
    version: int


_decode_head = msgspec.json.Decoder(_EventHead).decode


async def forward(
    name: str | None, url: str, chat: str | None, types: Collection[str], secret: str | None
) -> None:
    """Until it is stopped, or the session ends. `secret` is made here unless it is given."""
    secret = secret or signing.SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    async with scripting.logged_in(name) as client, httpx2.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
        chat_id = None if chat is None else await scripting.find_chat(client, chat)
        forwarder = _Forwarder(client, http, url, chat_id, frozenset(types or EVENT_TYPES), secret)
        await forwarder.load_versions()
        print(f"Telling {url} what happens; it is signed with {secret}", file=sys.stderr)
        await forwarder.run()


def is_secret(text: str) -> bool:
    """Whether it is a secret as servers make them."""
    try:
        return text.startswith(signing.SECRET_PREFIX) and bool(
            base64.b64decode(text.removeprefix(signing.SECRET_PREFIX), validate=True)
        )
    except ValueError:
        return False


class _Forwarder:
    def __init__(
        self,
        client: Client,
        http: httpx2.AsyncClient,
        url: str,
        chat_id: int | None,
        types: frozenset[str],
        secret: str,
    ) -> None:
        self._client = client
        self._http = http
        self._url = url
        self._chat_id = chat_id
        self._types = types
        self._secret = secret
        self._versions: dict[int, int] = {}  # how far each chat was heard
        self._catching_up: set[int] = set()  # chats of which what was missed is still being told

    async def load_versions(self) -> None:
        """From now on, all is told. Raises what the client does."""
        overview = await self._client.chats.overview()
        self._versions = {chat.id: chat.version for chat in overview.chats}

    async def run(self) -> None:
        """Raises LoggedOut or SessionEnded."""
        while True:
            login = self._client.http.login
            token = login.access_token if login is not None else ""
            try:
                async with open_connection(self._client.url, token, DEVICE_NAME) as connection:
                    await self._receive(connection)
            except errors.Unauthenticated:
                await self._client.http.renew_token(token)
            except ConnectionClosed as closed:
                if closed.code in FINAL_CLOSE_CODES:
                    await self._client.http.renew_token(token)
            except (Unreachable, NotConnected, errors.Unavailable) as error:
                print(f"{error} Trying again …", file=sys.stderr)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _receive(self, connection: Connection) -> None:
        resuming: asyncio.Task[object] | None = None
        if self._versions:
            known = {str(chat_id): version for chat_id, version in self._versions.items()}
            self._catching_up = set(self._versions)
            resuming = asyncio.create_task(connection.send_command("resume", chats=known))
        try:
            async for frame, text in connection.frames_with_text():
                if isinstance(frame, Synced):
                    self._versions |= frame.chats
                    self._catching_up -= frame.chats.keys()
                elif isinstance(frame, Reset):
                    print(f"Too much happened in chat {frame.chat_id}: not all is told.", file=sys.stderr)
                    self._versions.pop(frame.chat_id, None)
                    self._catching_up.discard(frame.chat_id)
                elif isinstance(frame, ChatFrame):
                    await self._forward(text)
        finally:
            if resuming is not None:
                resuming.cancel()
                await asyncio.gather(resuming, return_exceptions=True)

    async def _forward(self, text: str) -> None:
        head = _decode_head(text)
        if head.type in self._types and self._chat_id in (None, head.chat_id):
            name = f"evt_{head.chat_id}_{head.version}"
            body = text.encode()
            headers = signing.signed_headers(name, int(time.time()), body, [self._secret])
            began = time.monotonic()
            try:
                answer = await self._http.post(self._url, content=body, headers=headers)
                came = str(answer.status_code)
            except httpx2.HTTPError as error:
                came = f"failed: {error}"
            took = round((time.monotonic() - began) * 1000)
            line = f"{head.type}\tchat {head.chat_id}\tversion {head.version}\t{came}\t{took} ms"
            scripting.print_line(sanitize.line(line.replace("\t", "  ")))
        if head.chat_id not in self._catching_up:
            self._versions[head.chat_id] = max(head.version, self._versions.get(head.chat_id, 0))
