"""A client of `/ws` as its author would write it, that checks all the while what it is told."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2
import websockets

from tests.faults.replica import Frame, DeliveryOrder, VersionLog, Replica

TIMEOUT_SECONDS = 30.0
"""Seconds after which an answer that has to come has not come."""
CONNECTION_ERRORS = (OSError, TimeoutError, websockets.WebSocketException, httpx2.TransportError)
"""What happens to whoever talks with a server that is killed."""
RETRY_STATUSES = (503, 429)


class Environment(Protocol):
    """Where a device lives."""

    url: str  # changes with every start of the server
    is_server_up: asyncio.Event  # whether it is worth trying
    http: httpx2.AsyncClient
    log: VersionLog
    is_over: bool

    def spawn(self, work: Any) -> None:
        """Have something done meanwhile; if it fails, so does the test."""


@dataclass(eq=False)
class Device:
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
        self.traces: dict[
            int, list[str]
        ] = {}  # of each chat: what was heard, for whoever looks for the reason
        self._orders: dict[int, DeliveryOrder] = {}  # of this connection, as is all that follows
        self._cursors: dict[tuple[int, int], int] = {}
        self._answers: dict[int, asyncio.Future[Frame | None]] = {}
        self._refs = itertools.count(1)
        self.is_ready = asyncio.Event()

    @property
    def is_settled(self) -> bool:
        return self.is_ready.is_set() and all(chat.held_back is None for chat in self.chats.values())

    async def run(self) -> None:
        """Be connected, again and again."""
        while not self.environment.is_over:
            await self.environment.is_server_up.wait()
            with contextlib.suppress(*CONNECTION_ERRORS):
                async with self._connected() as socket:
                    await self._receive(socket)
            await asyncio.sleep(self.away_for or 0.1)
            self.away_for = 0.0

    async def ask(self, command: str, **arguments: Any) -> Frame | None:
        """The answer to a command; None if the connection ends before."""
        await self.is_ready.wait()
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
        """The answer to a request; None if the connection was lost."""
        headers = {"authorization": f"Bearer {self.token}"}
        with contextlib.suppress(*CONNECTION_ERRORS):
            answer = await self.environment.http.request(
                method, self.environment.url + path, json=body, headers=headers
            )
            assert answer.status_code < 500 or answer.status_code in RETRY_STATUSES, answer.text
            return answer
        return None

    async def disconnect(self, *, clean: bool, away_for: float) -> None:
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
                self.is_ready.clear()
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
        self.is_ready.set()
        self.environment.spawn(self._catch_up(socket, known))
        while True:
            self._handle(json.loads(await socket.recv()))

    async def _catch_up(self, socket: websockets.ClientConnection, known: dict[int, Replica]) -> None:
        """Find out what changed while one was away: load what is new, resume what is known."""
        while (answer := await self.request("GET", "/api/sync")) is None or answer.status_code != 200:
            if self.socket is not socket:
                return
            await asyncio.sleep(0.1)
        if self.socket is not socket:
            return
        listed = {chat["id"]: chat for chat in answer.json()["chats"]}
        for chat_id in listed.keys() - self.chats.keys():
            self._load(chat_id)
        # Those that were removed or came anew since `ready` are not in question.
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
        """Load a chat anew; what is heard of it meanwhile waits."""
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
        """Give what HTTP answers to `take`, unless the chat is gone or was replaced meanwhile."""
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

    # What comes in

    def _order_of(self, chat_id: int) -> DeliveryOrder:
        hearing = self._orders.get(chat_id)
        if hearing is None:
            trace = self.traces.setdefault(chat_id, [])
            trace.append(f"connection {self.connections}")
            hearing = self._orders[chat_id] = DeliveryOrder(chat_id, self.user_id, self.environment.log, trace)
        return hearing

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
        if chat is not None and chat.is_resuming:  # and not come anew since it was asked for
            chat.settle(version)

    def _handle_cursor(self, frame: Frame) -> None:
        chat_id, user_id, read_id = frame["chat_id"], frame["user_id"], frame["read_id"]
        assert not self._order_of(chat_id).is_removed, f"told of a chat that one is not in: {frame}"
        before = self._cursors.get((chat_id, user_id), 0)
        assert read_id > before, f"a cursor went from {before} to {read_id}: {frame}"
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
