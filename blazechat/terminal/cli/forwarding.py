"""Forwards the events of a user's chats to a local URL as HTTP requests, signed like webhooks.

A developer can test a webhook receiver on a machine that the server cannot call. Events that were missed
while the connection was lost are forwarded after it is restored, each message in its current state.
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
from blazechat.client.compact_messages import complete_json
from blazechat.client.frames import ChatFrame, Reset, Synced
from blazechat.client.socket import ConnectionClosed, LiveConnection, open_connection
from blazechat.terminal import sanitize
from blazechat.terminal.accounts import DEVICE_NAME
from blazechat.terminal.cli.output import print_line
from blazechat.terminal.cli.session import find_chat, logged_in

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
"""Of a request to the receiver."""
RECONNECT_SECONDS = 1.0
"""Pause between attempts to connect."""
FINAL_CLOSE_CODES = (4401, 4404)
"""Close codes after which the login must be renewed: to connect again with the same token is useless."""


class _EventHead(msgspec.Struct):
    """The fields of an event that decide where it goes."""

    type: str
    chat_id: int
    version: int


_decode_head = msgspec.json.Decoder(_EventHead).decode


async def forward(
    account_name: str | None, url: str, chat: str | None, types: Collection[str], secret: str | None
) -> None:
    """POST events to `url` until the session ends. Raises LoggedOut, SessionEnded and CommandError.

    `chat` and `types` limit the events; without them, all chats and all types are forwarded. Without a
    `secret`, a new one is created and printed.
    """
    secret = secret or signing.KEY_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    async with (
        logged_in(account_name) as client,
        httpx2.AsyncClient(timeout=TIMEOUT_SECONDS) as http,
    ):
        chat_id = None if chat is None else await find_chat(client, chat)
        receiver = _Receiver(http, url, secret)
        forwarder = _Forwarder(client, receiver, chat_id, frozenset(types or EVENT_TYPES))
        await forwarder.load_versions()
        print(f"Forwarding events to {url}, signed with {secret}", file=sys.stderr)
        await forwarder.run()


def is_secret(text: str) -> bool:
    """Return True if the text has the form of the server's webhook secrets."""
    try:
        return text.startswith(signing.KEY_PREFIX) and bool(
            base64.b64decode(text.removeprefix(signing.KEY_PREFIX), validate=True)
        )
    except ValueError:
        return False


class _Forwarder:
    """Receives events over a connection of its own, from the versions in `_versions` on."""

    def __init__(
        self, client: Client, receiver: "_Receiver", chat_id: int | None, types: frozenset[str]
    ) -> None:
        self._client = client
        self._receiver = receiver
        self._chat_id = chat_id
        self._types = types
        self._versions: dict[int, int] = {}  # the last handled version per chat
        self._catching_up: set[int] = set()  # chats whose missed events still arrive

    async def load_versions(self) -> None:
        """Start at the chats' current versions. Raises what `Chats.overview` raises."""
        overview = await self._client.chats.overview()
        self._versions = {chat.id: chat.version for chat in overview.chats}

    async def run(self) -> None:
        """Forward events, and reconnect forever. Raises LoggedOut or SessionEnded."""
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
                print(f"{error} Connecting again …", file=sys.stderr)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _receive(self, connection: LiveConnection) -> None:
        resume: asyncio.Task[object] | None = None
        if self._versions:
            versions = {str(chat_id): version for chat_id, version in self._versions.items()}
            self._catching_up = set(self._versions)
            resume = asyncio.create_task(connection.send_command("resume", chats=versions))
        try:
            async for frame, text in connection.frames_with_text():
                await self._handle(frame, text)
        finally:
            if resume is not None:
                resume.cancel()
                await asyncio.gather(resume, return_exceptions=True)

    async def _handle(self, frame: object, text: str) -> None:
        if isinstance(frame, Synced):
            self._versions |= frame.chats
            self._catching_up -= frame.chats.keys()
        elif isinstance(frame, Reset):
            print(
                f"Too many events were missed in chat {frame.chat_id}: some are not forwarded.",
                file=sys.stderr,
            )
            self._versions.pop(frame.chat_id, None)
            self._catching_up.discard(frame.chat_id)
        elif isinstance(frame, ChatFrame):
            head = _decode_head(text)
            if head.type in self._types and self._chat_id in (None, head.chat_id):
                await self._receiver.post(head, text)
            if head.chat_id not in self._catching_up:
                self._versions[head.chat_id] = max(head.version, self._versions.get(head.chat_id, 0))


class _Receiver:
    """The local program that events are sent to."""

    def __init__(self, http: httpx2.AsyncClient, url: str, secret: str) -> None:
        self._http = http
        self._url = url
        self._secret = secret

    async def post(self, head: _EventHead, text: str) -> None:
        """POST an event once, and print a line with the result: the status code or the error."""
        event_id = f"evt_{head.chat_id}_{head.version}"
        body = msgspec.json.encode(complete_json(msgspec.json.decode(text)))
        headers = signing.signed_headers(event_id, int(time.time()), body, [self._secret])
        started = time.monotonic()
        try:
            response = await self._http.post(self._url, content=body, headers=headers)
            result = str(response.status_code)
        except httpx2.HTTPError as error:
            result = f"failed: {error}"
        milliseconds = round((time.monotonic() - started) * 1000)
        line = f"{head.type}\tchat {head.chat_id}\tversion {head.version}\t{result}\t{milliseconds} ms"
        print_line(sanitize.line(line.replace("\t", "  ")))
