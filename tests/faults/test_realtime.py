"""Fifty sockets in a crowd, and a server that is killed with -9: what all see in the end is what is stored.

Another run: `REALTIME_SEED=7`; a longer one: `REALTIME_SECONDS=600`.
"""

import asyncio
import contextlib
import os
import secrets
from pathlib import Path
from random import Random

import httpx2

from tests.conftest import NewDatabase
from tests.faults import stored_state
from tests.faults.simulation import Simulation
from tests.faults.device import TIMEOUT_SECONDS
from tests.faults.test_kill import ServerCommand
from tests.harness import NO_TLS, eventually

SECONDS = float(os.environ.get("REALTIME_SECONDS", "14"))
MAX_ROUND_SECONDS = 5.0
"""Seconds at most between two kills; there are at least three."""


async def test_all_see_what_is_stored(open_folder: Path, new_database: NewDatabase) -> None:
    """Promises 1 to 9 of the design, while people do everything at random and the server is killed."""
    seed = int(os.environ.get("REALTIME_SEED", secrets.randbelow(10**6)))
    print(f"REALTIME_SEED={seed}")
    dsn = await new_database()
    command = ServerCommand(open_folder / "data", DATABASE_URL=dsn, BLAZECHAT_RESUME_LIMIT="150")
    try:
        await _run(command, dsn, Random(seed))
        assert await asyncio.to_thread(command.stop) == 0
    finally:
        if command.process is not None and command.process.poll() is None:
            command.kill()
        output = "".join(command.output)
        print(output)
    assert "Traceback" not in output


async def _run(command: ServerCommand, dsn: str, random: Random) -> None:
    async with (
        httpx2.AsyncClient(trust_env=False, verify=NO_TLS, timeout=TIMEOUT_SECONDS) as http,
        asyncio.TaskGroup() as group,
    ):
        crowd = Simulation(group, http, random)
        await _start(command, crowd)
        watching = group.create_task(stored_state.watch_cursors(dsn))
        await crowd.set_up()
        kills = max(3, round(SECONDS / MAX_ROUND_SECONDS))
        for _ in range(kills):
            await crowd.run(SECONDS / (kills + 1))
            await asyncio.to_thread(command.kill)
            await _start(command, crowd)
        await crowd.run(SECONDS / (kills + 1))
        await crowd.finish()
        await _compare(crowd, dsn)
        watching.cancel()
        crowd.is_over = True
        for device in crowd.devices:
            await device.disconnect(clean=False, away_for=0)


async def _start(command: ServerCommand, crowd: Simulation) -> None:
    crowd.is_server_up.clear()
    crowd.url = await asyncio.to_thread(command.start)
    crowd.is_server_up.set()


async def _compare(crowd: Simulation, dsn: str) -> None:
    stored = await stored_state.read(dsn)
    with contextlib.suppress(TimeoutError):  # the checks tell who has not come so far
        await eventually(lambda: stored.agrees_with(crowd.devices))
    stored.check_ids()
    stored.check_acknowledged(crowd.history)
    stored.check_deleted(crowd.history)
    crowd.history.check_order()
    for device in crowd.devices:
        stored.check_device(device)
    stored.check_gone(crowd.devices)
    crowd.log.check_skipped(stored.current_versions)
    print(f"{crowd.history.ack_count} acknowledged, {len(crowd.log.delivered)} versions told")
    print(
        f"{len(crowd.log.skipped)} left out, {sum(each.connections for each in crowd.devices)} connections"
    )
    print(f"{sum(each.resets for each in crowd.devices)} resets; {dict(sorted(crowd.history.outcomes.items()))}")
