"""`kill -9` of server and database during deliveries to a receiver that fails half the time."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx2
import psutil
import pytest

from blazechat.database.postmaster import Postmaster
from tests.faults.test_kill import ServerCommand, _set_up
from tests.harness import NO_TLS, eventually
from tests.webhooks.receiver import Receiver, Request, receiving

EVENTS = 1000
CHATS = 5
KILLS = 2
TIMEOUT_SECONDS = 120.0


@pytest.fixture
def command(open_folder: Path) -> Iterator[ServerCommand]:
    server = ServerCommand(
        open_folder / "data",
        BLAZECHAT_WEBHOOK_ALLOWED_HOSTS="127.0.0.0/8",
        BLAZECHAT_WEBHOOK_RETRY_SECONDS=",".join(["0.02"] * 60),
        BLAZECHAT_WEBHOOK_TIMEOUT="1",
    )
    yield server
    server.close()


async def test_every_event_arrives_in_order_despite_kills(command: ServerCommand) -> None:
    """Events of all acknowledged messages arrive in the order of versions, each under one id even if
    repeated."""
    seed = int(os.environ.get("WEBHOOKS_SEED", secrets.randbelow(10**6)))
    print(f"WEBHOOKS_SEED={seed}")
    chance = Random(seed)

    def unreliable(request: Request) -> int:
        return 200 if chance.random() < 0.5 else chance.choice([500, 503, 429, 302])

    async with receiving(unreliable) as receiver:
        url = await asyncio.to_thread(command.start)
        headers, _ = await _set_up(url)
        chats = await _hooked_chats(url, headers, receiver)
        acknowledged: list[tuple[int, int]] = []  # chat id and version
        left = {chat: [f"{number}" for number in range(EVENTS // CHATS)] for chat in chats}
        for kill in range(1, KILLS + 2):
            sending = asyncio.create_task(_send(url, headers, left, acknowledged))
            if kill > KILLS:
                await sending
                break
            wanted = kill * EVENTS // (KILLS + 2)
            await eventually(lambda: len(_arrived(receiver)) > wanted, TIMEOUT_SECONDS)  # noqa: B023
            await asyncio.to_thread(_kill_all, command)
            await sending
            url = await asyncio.to_thread(command.start)
        assert len(acknowledged) >= EVENTS
        await eventually(lambda: set(acknowledged) <= _arrived(receiver).keys(), TIMEOUT_SECONDS)
        assert await asyncio.to_thread(command.stop) == 0
    _check(receiver)
    refused = len(receiver.requests) - len(receiver.accepted)
    print(f"{len(receiver.requests)} calls, {refused} refused, {len(_arrived(receiver))} events")
    assert refused > EVENTS / 4
    output = "".join(command.output)
    print(output)
    assert "Traceback" not in output


async def _hooked_chats(url: str, headers: dict[str, str], receiver: Receiver) -> list[int]:
    """Create groups with a webhook each; return their ids."""
    chats = []
    async with _http(url, headers) as http:
        for _ in range(CHATS):
            chat = (await http.post("/chats", json={"is_group_chat": True, "user_ids": []})).json()["id"]
            created = await http.post(f"/api/chats/{chat}/webhooks", json={"url": receiver.url})
            assert created.status_code == 201
            chats.append(chat)
    return chats


async def _send(
    url: str, headers: dict[str, str], left: dict[int, list[str]], acknowledged: list[tuple[int, int]]
) -> None:
    """Send the remaining messages of each chat in order, until all are sent or the server is gone."""

    async def to(chat: int) -> None:
        async with _http(url, headers) as http:
            while left[chat]:
                body = {"content": left[chat][0], "client_id": f"n{left[chat][0]}"}
                with contextlib.suppress(httpx2.TransportError, OSError):
                    answer = await http.post(f"/chats/{chat}/messages", json=body)
                    if answer.status_code == 201:
                        acknowledged.append((chat, answer.json()["version"]))
                        left[chat].pop(0)
                        continue
                    assert answer.status_code == 503, answer.text
                return

    await asyncio.gather(*map(to, left))


def _http(url: str, headers: dict[str, str]) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, verify=NO_TLS, timeout=10)


def _kill_all(command: ServerCommand) -> None:
    postmaster = Postmaster.of((command.folder / "postgres").resolve() / "cluster")
    assert postmaster is not None
    for process in (postmaster.process, *postmaster.process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    command.kill()


def _arrived(receiver: Receiver) -> dict[tuple[int, int], str]:
    """Return the event id of each accepted chat version, in the order of first arrival."""
    found: dict[tuple[int, int], str] = {}
    for request in receiver.accepted:
        event = request.event
        found.setdefault((event["chat_id"], event["version"]), request.event_id)
    return found


def _check(receiver: Receiver) -> None:
    in_order = list(_arrived(receiver))
    for chat in {chat for chat, _ in in_order}:
        versions = [version for of, version in in_order if of == chat]
        assert versions == list(range(versions[0], versions[0] + len(versions)))
    ids: dict[tuple[int, int], set[str]] = {}
    for request in receiver.requests:
        ids.setdefault((request.event["chat_id"], request.event["version"]), set()).add(request.event_id)
    assert all(len(names) == 1 for names in ids.values())
    assert len(set.union(*ids.values())) == len(ids)
