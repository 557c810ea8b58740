"""`make bench`: runs all scenarios (or `ONLY=name`), prints a table, and writes `bench/results.json`."""

import asyncio
import json
import os
import resource
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench import (
    fanout,
    growth,
    history,
    hostile,
    machine,
    media,
    memory,
    sends,
    sends_http,
    storm,
    terminal,
    webhooks,
)
from bench.figures import Figure, table
from bench.peers import run as peers

SCENARIOS: dict[str, Callable[[], Awaitable[list[Figure]]]] = {
    "sends": sends.one_in_flight,
    "sends_8": sends.eight_in_flight,
    "sends_one_chat": sends.one_chat,
    "fanout": fanout.throughput,
    "fanout_latency": fanout.latency,
    "sends_http": sends_http.run,
    "memory": memory.idle,
    "history": history.pages,
    "history_depth": history.depth,
    "storm": storm.reconnect,
    "hostile": hostile.misbehave,
    "media": media.large_upload,
    "media_beside": media.during_chat,
    "webhooks": webhooks.run,
    "terminal": terminal.run,
    "growth": growth.fill,
}
ONLY_BY_NAME: dict[str, Callable[[], Awaitable[list[Figure]]]] = {"peers": peers.compare}
"""Scenarios that a run of all leaves out: they need other servers."""
RESULTS = Path(__file__).with_name("results.json")
MACHINE = Path(__file__).with_name("machine.json")


def main() -> None:
    """Run the scenarios. Exit with 1 if one fails, after the others have run."""
    only = os.environ.get("ONLY") or (sys.argv[1] if len(sys.argv) > 1 else "")
    known = SCENARIOS | ONLY_BY_NAME
    if only and only not in known:
        sys.exit(f"There is no scenario {only}. Choose one of: {', '.join(known)}")
    _raise_file_limit()
    described = machine.describe()
    print(machine.headline(described), flush=True)
    figures: list[Figure] = []
    failed = []
    for name, scenario in ({only: known[only]} if only else SCENARIOS).items():
        print(f"\n{name}", flush=True)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                figures += runner.run(_run(scenario))
        except Exception:  # noqa: BLE001 (the other scenarios run whatever the failure is)
            traceback.print_exc()
            failed.append(name)
    print(f"\n{table(figures)}")
    RESULTS.write_text(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n")
    MACHINE.write_text(json.dumps(described, indent=2) + "\n")
    if failed:
        sys.exit(f"These scenarios failed: {', '.join(failed)}")


async def _run(scenario: Callable[[], Awaitable[list[Figure]]]) -> list[Figure]:
    return await scenario()


def _raise_file_limit() -> None:
    """Raise the limit of open files to its maximum: each socket is a file. The server inherits the
    limit."""
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


if __name__ == "__main__":
    main()
