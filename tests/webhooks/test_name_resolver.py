"""Lookups of host names are shared, and dropped when all calls are cancelled."""

import asyncio
import socket
import threading

import pytest

from blazechat.jobs import name_resolver
from blazechat.jobs.name_resolver import NameResolver
from tests.harness import eventually


async def test_lookup_of_cancelled_calls_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Calls that are cancelled while all threads are busy take no thread later."""
    monkeypatch.setattr(name_resolver, "LOOKUP_THREADS", 1)
    resolver, answer = NameResolver(), threading.Event()
    lookups: list[str] = []

    def slow_lookup(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        lookups.append(host)
        answer.wait(10)
        return [(2, 1, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)
    slow = asyncio.create_task(resolver("slow.example", 443))
    await eventually(lambda: lookups)
    cancelled = [asyncio.create_task(resolver(f"{number // 2}.example", 443)) for number in range(20)]
    waiting_call = asyncio.create_task(resolver("0.example", 443))
    await asyncio.sleep(0)
    for task in cancelled:
        task.cancel()
    await asyncio.wait(cancelled)
    later_call = asyncio.create_task(resolver("1.example", 443))
    await asyncio.sleep(0)
    answer.set()
    assert [await slow, await waiting_call, await later_call] == [["192.0.2.1"]] * 3
    assert lookups == ["slow.example", "0.example", "1.example"]
    resolver.close()


async def test_concurrent_calls_share_a_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled call does not cancel the lookup of the others."""
    resolver, answer = NameResolver(), threading.Event()
    lookups: list[str] = []

    def slow_lookup(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        lookups.append(host)
        answer.wait(10)
        if host == "nowhere.example":
            raise socket.gaierror
        return [(2, 1, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)
    for host in ("slow.example", "nowhere.example"):
        waiting = [asyncio.create_task(resolver(host, 443)) for _ in range(100)]
        await eventually(lambda: lookups)
        waiting[0].cancel()
        answer.set()
        first, *others = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert lookups == [host]
        if host == "slow.example":
            assert others == [["192.0.2.1"]] * 99
        else:
            assert all(isinstance(each, socket.gaierror) for each in others)
        lookups.clear()
        answer.clear()
    resolver.close()
