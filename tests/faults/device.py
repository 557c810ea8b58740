"""A client of `/ws` as an application would have it, which checks everything that it receives."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2
import websockets

from blazechat.client.compact_messages import complete_json
from tests.faults.replica import DeliveryOrder, Frame, Replica, VersionLog

TIMEOUT_SECONDS = 30.0
"""A response that takes longer counts as missing."""
CONNECTION_ERRORS = (OSError, TimeoutError, websockets.WebSocketException, httpx2.TransportError)
"""Raised on a connection to a server that is killed."""
RETRY_STATUSES = (503, 429)
"""HTTP statuses after which a client tries again."""


class Environment(Protocol):
    """What devices share."""

    url: str  # changes with every start of the server
    server_up: asyncio.Event  # set while the server runs
    http: httpx2.AsyncClient
    log: VersionLog
    is_over: bool

    def spawn(self, work: Any) -> None:
        """Run a task. If it fails, the test fails."""


@dataclass(eq=False)
class Device:
    """One device of a user: its connection, and its copies of the user's chats."""

    environment: Environment
    user_id: int
    token: str
    number: int
    chats: dict[int, Replica] = field(default_factory=dict)
    away_for: float = 0.0  # seconds to stay away before the next connection
    socket: websockets.ClientConnection | None = None
    connections: int = 0
    resets: int = 0

    def __post_init__(self) -> None:
        self.traces: dict[int, list[str]] = {}  # by chat: what was received, for failure messages
        # Of the current connection:
        self._orders: dict[int, DeliveryOrder] = {}
        self._cursors: dict[tuple[int, int], int] = {}
        self._answers: dict[int, asyncio.Future[Frame | None]] = {}
        self._refs = itertools.count(1)
        self.ready = asyncio.Event()

    @property
    def is_settled(self) -> bool:
        """True if the device is connected and has caught up in all chats."""
        return self.ready.is_set() and all(chat.held_back is None for chat in self.chats.values())

    async def run(self) -> None:
        """Connect, and connect again whenever the connection ends."""
        while not self.environment.is_over:
            await self.environment.server_up.wait()
            with contextlib.suppress(*CONNECTION_ERRORS):
                async with self._connected() as socket:
                    await self._receive(socket)
            await asyncio.sleep(self.away_for or 0.1)
            self.away_for = 0.0

    async def ask(self, command: str, **arguments: Any) -> Frame | None:
        """Send a command and return its answer; None if the connection ends before."""
        await self.ready.wait()
        if self.socket is None:
            return None
        ref = next(self._refs)
        answer: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        with contextlib.suppress(*CONNECTION_ERRORS):
            await self.socket.send(json.dumps({"type": command, "ref": ref, **arguments}))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await answer
        return answer.result()

    async def request(self, method: str, path: str, body: Any = None) -> httpx2.Response | None:
        """Send a request and return the response; None if the connection was lost."""
        headers = {"authorization": f"Bearer {self.token}"}
        with contextlib.suppress(*CONNECTION_ERRORS):
            answer = await self.environment.http.request(
                method, self.environment.url + path, json=body, headers=headers
            )
            assert answer.status_code < 500 or answer.status_code in RETRY_STATUSES, answer.text
            return answer
        return None

    async def disconnect(self, *, clean: bool, away_for: float) -> None:
        """Close the connection, with a close frame if `clean`, and stay away for so many seconds."""
        self.away_for = away_for
        if self.socket is not None:
            if clean:
                await self.socket.close()
            else:
                self.socket.transport.abort()

    # One connection

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[websockets.ClientConnection]:
        async with websockets.connect(
            f"{self.environment.url.replace('http', 'ws', 1)}/ws",
            additional_headers={"authorization": f"Bearer {self.token}"},
            proxy=None,
            compression=None,
            ping_interval=None,
            close_timeout=1,
        ) as socket:
            self.socket = socket
            self.connections += 1
            self._orders, self._cursors = {}, {}
            try:
                yield socket
            finally:
                self.socket = None
                self.ready.clear()
                for answer in self._answers.values():
                    if not answer.done():
                        answer.set_result(None)
                self._answers.clear()

    async def _receive(self, socket: websockets.ClientConnection) -> None:
        ready = json.loads(await socket.recv())
        assert (ready["type"], ready["user_id"]) == ("ready", self.user_id), ready
        self.chats = {chat_id: chat for chat_id, chat in self.chats.items() if chat.is_loaded}
        known = dict(self.chats)
        for chat in known.values():
            chat.held_back, chat.is_resuming = [], False
        self.ready.set()
        self.environment.spawn(self._catch_up(socket, known))
        while True:
            self._handle(complete_json(json.loads(await socket.recv())))

    async def _catch_up(self, socket: websockets.ClientConnection, known: dict[int, Replica]) -> None:
        """Catch up after a connect: load new chats, resume known ones."""
        while (answer := await self.request("GET", "/api/sync")) is None or answer.status_code != 200:
            if self.socket is not socket:
                return
            await asyncio.sleep(0.1)
        if self.socket is not socket:
            return
        listed = {chat["id"]: chat for chat in answer.json()["chats"]}
        for chat_id in listed.keys() - self.chats.keys():
            self._load(chat_id)
        # Chats that were removed or added again since `ready` are not resumed.
        known = {chat_id: chat for chat_id, chat in known.items() if self.chats.get(chat_id) is chat}
        for chat_id in known.keys() - listed.keys():
            del self.chats[chat_id]
        versions = {}
        for chat_id in known.keys() & listed.keys():
            known[chat_id].is_resuming = True
            known[chat_id].read(listed[chat_id]["read_id"])
            versions[str(chat_id)] = known[chat_id].version
            self._order_of(chat_id).resume(known[chat_id].version)
        if versions:
            with contextlib.suppress(*CONNECTION_ERRORS):
                await socket.send(json.dumps({"type": "resume", "chats": versions}))

    def _load(self, chat_id: int) -> None:
        """Load a chat again. Its events are held back meanwhile."""
        chat = self.chats[chat_id] = Replica(chat_id, self.user_id)
        self.traces.setdefault(chat_id, []).append("load")
        self.environment.spawn(self._load_all(chat))

    async def _load_all(self, chat: Replica) -> None:
        if await self._fetch(chat, f"/api/chats/{chat.chat_id}", chat.take_chat):
            await self._load_messages(chat)

    async def _load_messages(self, chat: Replica) -> None:
        before: int | None = None
        while before is None or before > 1:
            page: list[Frame] = []
            query = "limit=100" if before is None else f"limit=100&before={before}"
            if not await self._fetch(chat, f"/api/chats/{chat.chat_id}/messages?{query}", page.extend):
                return
            chat.put(page)
            if len(page) < 100:
                break
            before = page[-1]["id"]
        chat.settle(chat.version)

    async def _fetch(self, chat: Replica, path: str, take: Any) -> bool:
        """Pass the response to `take`; return False if the chat was removed or replaced meanwhile."""
        socket = self.socket
        while True:
            answer = await self.request("GET", path)
            if self.chats.get(chat.chat_id) is not chat or self.socket is not socket:
                return False
            if answer is None or answer.status_code in RETRY_STATUSES:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 404:
                del self.chats[chat.chat_id]
                return False
            take(answer.json())
            return True

    # Incoming frames

    def _order_of(self, chat_id: int) -> DeliveryOrder:
        order = self._orders.get(chat_id)
        if order is None:
            trace = self.traces.setdefault(chat_id, [])
            trace.append(f"connection {self.connections}")
            order = self._orders[chat_id] = DeliveryOrder(
                chat_id, self.user_id, self.environment.log, trace
            )
        return order

    def _handle(self, frame: Frame) -> None:
        match frame["type"]:
            case "ack" | "error":
                assert frame.get("code") != "internal_error", frame
                answer = self._answers.pop(frame["ref"], None)
                if answer is not None and not answer.done():
                    answer.set_result(frame)
            case "synced":
                for chat_id, version in frame["chats"].items():
                    self._handle_synced(int(chat_id), version)
            case "reset":
                self.resets += 1
                self._order_of(frame["chat_id"]).reset()
                if frame["chat_id"] in self.chats:
                    self._load(frame["chat_id"])
            case "read":
                self._handle_cursor(frame)
            case "typing":
                assert not self._order_of(frame["chat_id"]).is_removed, frame
            case "ping":
                self.environment.spawn(self.ask("ping"))
            case _:
                self._handle_event(frame)

    def _handle_synced(self, chat_id: int, version: int) -> None:
        self._order_of(chat_id).sync(version)
        chat = self.chats.get(chat_id)
        if chat is not None and chat.is_resuming:  # it was not added again since the resume
            chat.settle(version)

    def _handle_cursor(self, frame: Frame) -> None:
        chat_id, user_id, read_id = frame["chat_id"], frame["user_id"], frame["read_id"]
        assert not self._order_of(chat_id).is_removed, f"event of a chat without membership: {frame}"
        before = self._cursors.get((chat_id, user_id), 0)
        assert read_id > before, f"a read cursor went from {before} to {read_id}: {frame}"
        self._cursors[chat_id, user_id] = read_id
        if user_id == self.user_id and chat_id in self.chats:
            self.chats[chat_id].read(read_id)

    def _handle_event(self, event: Frame) -> None:
        chat_id = event["chat_id"]
        if event["type"] == "chat.created":
            self._order_of(chat_id).create(event["version"])
            chat = self.chats[chat_id] = Replica(chat_id, self.user_id)
            chat.take_chat(event["chat"])
            self.environment.spawn(self._load_messages(chat))
            return
        self._order_of(chat_id).deliver(event)
        if event["type"] == "chat.deleted" or event.get("user_id") == self.user_id:
            self._order_of(chat_id).is_removed = True
            self.chats.pop(chat_id, None)
        elif chat_id in self.chats:
            self.chats[chat_id].handle(event)
