"""Simulated users who do all that is possible in chats, at random, on several devices each."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import httpx2

from tests.faults.device import TIMEOUT_SECONDS, Device
from tests.faults.expected_history import ExpectedHistory, SentMessage
from tests.faults.replica import Frame, Replica, VersionLog
from tests.harness import PASSWORD

USERS = 12
SOCKETS = 50
GROUPS = 6
EMOJI = ("👍", "🎉", "❤️")
INVALID_COMMANDS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("explode", {}, "unknown_command"),
    ("send", {"chat_id": 1, "content": " \u200b"}, "invalid_input"),
    ("send", {"chat_id": "1", "content": "x"}, "invalid_input"),
    ("send", {"chat_id": 10**9, "content": "x"}, "not_found"),
    ("edit", {"chat_id": 10**9, "message_id": 1, "content": "x"}, "not_found"),
    ("react", {"chat_id": 1, "message_id": 1, "emoji": ""}, "invalid_input"),
)
"""Invalid commands, with the error codes that they must get."""
RETRYABLE_CODES = ("busy", "unavailable", "shutting_down", "too_many_commands")
"""Error codes after which a client tries again."""
MAX_CONCURRENT_ACTIONS = 60
MIN_ACKS_PER_ROUND = 50
"""Messages that must be acknowledged between two kills."""


class Simulation:
    """The environment of all devices. Its tasks belong to `group`."""

    def __init__(self, group: asyncio.TaskGroup, http: httpx2.AsyncClient, random: Random) -> None:
        self.url = ""
        self.server_up = asyncio.Event()
        self.http = http
        self.log = VersionLog()
        self.history = ExpectedHistory()
        self.is_over = False
        self.devices: list[Device] = []
        self._group = group
        self._random = random
        self._serial = 0
        self._running: set[asyncio.Task[None]] = set()
        self._actions: list[Callable[[Device], Coroutine[Any, Any, None]]] = []
        for weight, action in (
            (40, self._send),
            (6, self._edit),
            (5, self._delete),
            (8, self._react),
            (3, self._pin),
            (10, self._read),
            (3, self._subscribe),
            (4, self._add),
            (4, self._remove),
            (1, self._leave_chat),
            (2, self._promote),
            (3, self._rename),
            (1, self._create_chat),
            (3, self._send_invalid_command),
            (3, self._disconnect),
        ):
            self._actions += [action] * weight

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self._group.create_task(work)

    async def set_up(self) -> None:
        """Register all users, connect their devices, and create the first chats."""
        tokens = await asyncio.gather(*(self._register(f"user{number}") for number in range(USERS)))
        for number in range(SOCKETS):
            user_id, token = tokens[number % USERS]
            self.devices.append(Device(self, user_id, token, number))
        for device in self.devices:
            self.spawn(device.run())
        for number in range(GROUPS):
            await self._create_group(self.devices[number], "joined" if number % 3 == 2 else "all")
        await self._create_direct(self.devices[0])

    async def run(self, seconds: float) -> None:
        """Act for `seconds`; longer on a busy machine, until MIN_ACKS_PER_ROUND are reached."""
        end, min_acks = time.monotonic() + seconds, self.history.ack_count + MIN_ACKS_PER_ROUND
        while time.monotonic() < end or self.history.ack_count < min_acks:
            await asyncio.sleep(self._random.uniform(0, 0.01))
            device = self._random.choice(self.devices)
            if len(self._running) < MAX_CONCURRENT_ACTIONS and device.ready.is_set():
                self._start(self._random.choice(self._actions)(device))

    async def finish(self) -> None:
        """Finish all actions, remove a member from each group, and wait until all devices are settled."""
        async with asyncio.timeout(4 * TIMEOUT_SECONDS):
            while self._running:
                await asyncio.wait(self._running)
            await self._wait_until_settled()
            for device in self.devices:
                for chat in list(device.chats.values()):
                    if chat.members.get(device.user_id) == "owner" and len(chat.members) > 3:
                        await self._remove_member(device, chat)
            await self._wait_until_settled()

    async def _wait_until_settled(self) -> None:
        for device in self.devices:
            while not device.is_settled or await device.ask("ping") is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def _remove_member(self, owner: Device, chat: Replica) -> None:
        """Remove a member, send a message that the member must not receive, and have another member read
        it."""
        others = sorted(chat.members.keys() - {owner.user_id})
        chosen = self._random.choice(others)
        await self._request(owner, "DELETE", f"/api/chats/{chat.chat_id}/members/{chosen}")
        await self._send_message(owner, chat.chat_id)
        readers = [each for each in self.devices if each.user_id in others and each.user_id != chosen]
        reader = self._random.choice(readers)
        if (await self._ask(reader, "read", chat_id=chat.chat_id) or {}).get("type") == "ack":
            await reader.ask("ping")  # so that the `read` event has arrived

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _unique_text(self, letter: str) -> str:
        self._serial += 1
        return f"<{letter}{self._serial}>"

    async def _register(self, name: str) -> tuple[int, str]:
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        account = await self.http.post(f"{self.url}/api/auth/register", json=body)
        tokens = await self.http.post(
            f"{self.url}/api/auth/login", data={"username": name, "password": PASSWORD}
        )
        return account.json()["id"], tokens.json()["access_token"]

    # Over the socket

    def _any_chat(self, device: Device) -> Replica | None:
        return self._random.choice(list(device.chats.values()) or [None])

    def _any_message(self, device: Device, *, own: bool = False) -> dict[str, int] | None:
        """Return chat and id of a message that the device has, preferably a recent one."""
        chat = self._any_chat(device)
        if chat is None:
            return None
        found = [m["id"] for m in chat.messages.values() if not own or m["user_id"] == device.user_id]
        if not found:
            return None
        found.sort()
        chosen = self._random.choice(found[-15:] if self._random.random() < 0.7 else found)
        return {"chat_id": chat.chat_id, "message_id": chosen}

    async def _send(self, device: Device) -> None:
        chat = self._any_chat(device)
        if chat is not None:
            await self._send_message(device, chat.chat_id)

    async def _send_message(self, device: Device, chat_id: int) -> None:
        """Send a message; sometimes from two devices at the same time, or twice from the same device."""
        token = self._unique_text("s")
        padding = self._random.choice("xé漢🎈") * self._random.randrange(80)
        message = SentMessage(chat_id, device.user_id, token[1:-1], f"{token} {padding}.")
        self.history.sent.append(message)
        devices = [device]
        if self._random.random() < 0.15:
            devices.append(self._random.choice([d for d in self.devices if d.user_id == device.user_id]))
        await asyncio.gather(*(self._send_from(each, message) for each in devices))
        if message.acknowledged_at and self._random.random() < 0.05:
            await self._reuse_client_id(device, message)

    async def _send_from(self, device: Device, message: SentMessage) -> None:
        """Send a message until it is acknowledged or rejected."""
        while True:
            answer = await device.ask(
                "send", chat_id=message.chat_id, content=message.content, client_id=message.client_id
            )
            if answer is not None and answer["type"] == "ack":
                message.acknowledge(answer)
                self.history.ack_count += 1
                return
            if answer is not None and answer["code"] not in RETRYABLE_CODES:
                assert answer["code"] == "not_found", answer
                return
            await asyncio.sleep(0.05)

    async def _reuse_client_id(self, device: Device, message: SentMessage) -> None:
        """Send another message under the same `client_id`."""
        other = {
            "chat_id": message.chat_id,
            "content": self._unique_text("c"),
            "client_id": message.client_id,
        }
        answer = await device.ask("send", **other)
        if answer is not None and answer["type"] == "ack":  # deleted: no digest to compare
            message.acknowledge(answer)
            assert (message.chat_id, message.message_id) in self.history.deleted, answer

    async def _edit(self, device: Device) -> None:
        target = self._any_message(device, own=True)
        if target is None:
            return
        edits = self.history.edits[target["chat_id"], target["message_id"]]
        content = self._unique_text("e")
        edits[content] = 0
        answer = await self._ask(device, "edit", **target, content=content)
        if answer is not None:
            edits[content] = answer.get("version", -1)

    async def _delete(self, device: Device) -> None:
        target = self._any_message(device, own=self._random.random() < 0.7)
        if target is None:
            return
        where = (target["chat_id"], target["message_id"])
        answer = await self._ask(device, "delete", **target)
        if answer is not None and answer["type"] == "ack":
            self.history.deleted.add(where)

    async def _react(self, device: Device) -> None:
        target = self._any_message(device)
        if target is not None:
            command = self._random.choice(("react", "react", "unreact"))
            await self._ask(device, command, **target, emoji=self._random.choice(EMOJI))

    async def _pin(self, device: Device) -> None:
        target = self._any_message(device)
        if target is not None:
            await self._ask(device, self._random.choice(("pin", "unpin")), **target)

    async def _read(self, device: Device) -> None:
        target = self._any_message(device)
        if target is not None:
            up_to = target["message_id"] + self._random.choice((0, 0, 0, 1000))
            answer = await self._ask(device, "read", chat_id=target["chat_id"], up_to=up_to)
            if answer is not None and answer["type"] == "ack" and target["chat_id"] in device.chats:
                device.chats[target["chat_id"]].read(answer["read_id"])

    async def _subscribe(self, device: Device) -> None:
        chat = self._any_chat(device)
        if chat is not None:
            command = self._random.choice(("subscribe", "subscribe", "typing", "unsubscribe"))
            await self._ask(device, command, chat_id=chat.chat_id)

    async def _ask(self, device: Device, command: str, **arguments: Any) -> Frame | None:
        answer = await device.ask(command, **arguments)
        self.history.outcomes[f"{command} {answer.get('code', '') if answer else 'lost'}"] += 1
        return answer

    async def _send_invalid_command(self, device: Device) -> None:
        """Each invalid command gets its error, and the socket stays open."""
        command, arguments, code = self._random.choice(INVALID_COMMANDS)
        answer = await self._ask(device, command, **arguments)
        assert answer is None or answer.get("code") in (code, *RETRYABLE_CODES), (
            command,
            arguments,
            answer,
        )

    async def _disconnect(self, device: Device) -> None:
        await device.disconnect(
            clean=self._random.random() < 0.4, away_for=self._random.choice((0.01, 0.3, 3))
        )

    # Over HTTP

    async def _request(self, device: Device, method: str, path: str, body: Any = None) -> None:
        answer = await device.request(method, path, body)
        outcome = "lost" if answer is None else answer.status_code
        self.history.outcomes[f"{method} {path.rstrip('0123456789')} {outcome}"] += 1

    def _any_group(self, device: Device) -> Replica | None:
        """Return a group, preferably one that the device may change."""
        groups = [chat for chat in device.chats.values() if len(chat.members) != 2]
        leads = [chat for chat in groups if chat.members.get(device.user_id) != "member"]
        return self._random.choice(leads or groups or [None])

    async def _add(self, device: Device) -> None:
        chat = self._any_group(device)
        others = [each.user_id for each in self.devices[:USERS]]
        if chat is not None and (absent := [each for each in others if each not in chat.members]):
            chosen = self._random.sample(absent, min(len(absent), self._random.choice((1, 1, 2))))
            await self._request(device, "POST", f"/api/chats/{chat.chat_id}/members", chosen)

    async def _remove(self, device: Device) -> None:
        chat = self._any_group(device)
        if chat is not None and len(chat.members) > 4:
            chosen = self._random.choice(list(chat.members))
            await self._request(device, "DELETE", f"/api/chats/{chat.chat_id}/members/{chosen}")

    async def _leave_chat(self, device: Device) -> None:
        chat = self._any_group(device)
        if chat is not None and (len(chat.members) > 4 or self._random.random() < 0.1):
            await self._request(device, "DELETE", f"/api/chats/{chat.chat_id}/members/{device.user_id}")

    async def _promote(self, device: Device) -> None:
        chat = self._any_group(device)
        if chat is not None and chat.members:
            chosen = self._random.choice(list(chat.members))
            role = {"role": self._random.choice(("admin", "admin", "member", "owner"))}
            await self._request(device, "PUT", f"/api/chats/{chat.chat_id}/members/{chosen}", role)

    async def _rename(self, device: Device) -> None:
        chat = self._any_group(device)
        if chat is not None:
            await self._request(
                device, "PUT", f"/api/chats/{chat.chat_id}", {"name": self._unique_text("n")}
            )

    async def _create_chat(self, device: Device) -> None:
        if self._random.random() < 0.3:
            await self._create_group(device, self._random.choice(("all", "joined")))
        else:
            await self._create_direct(device)

    async def _create_group(self, device: Device, history: str) -> None:
        others = [each.user_id for each in self.devices[:USERS]]
        body = {
            "name": self._unique_text("n"),
            "is_group_chat": True,
            "user_ids": self._random.sample(others, self._random.randrange(5, 9)),
            "history": history,
        }
        await self._request(device, "POST", "/api/chats", body)

    async def _create_direct(self, device: Device) -> None:
        other = self._random.choice([each.user_id for each in self.devices[:USERS]])
        if other != device.user_id:
            await self._request(device, "POST", "/api/chats", {"user_ids": [other]})
