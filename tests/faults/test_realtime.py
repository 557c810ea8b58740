"""Fifty sockets of simulated users, and a server that is killed: all devices end with the stored state.

`REALTIME_SEED=7` repeats a run; `REALTIME_SECONDS=600` makes it longer.
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
from tests.faults.device import TIMEOUT_SECONDS
from tests.faults.simulation import Simulation
from tests.faults.test_kill import ServerCommand
from tests.harness import NO_TLS, eventually

SECONDS = float(os.environ.get("REALTIME_SECONDS", "14"))
MAX_ROUND_SECONDS = 5.0
"""Longest time between two kills; there are at least three kills."""


async def test_all_devices_end_with_what_is_stored(open_folder: Path, new_database: NewDatabase) -> None:
    """Durability, order, delivery, removal and deletion hold while users act and the server is killed."""
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
        simulation = Simulation(group, http, random)
        await _start(command, simulation)
        watching = group.create_task(stored_state.watch_cursors(dsn))
        await simulation.set_up()
        kills = max(3, round(SECONDS / MAX_ROUND_SECONDS))
        for _ in range(kills):
            await simulation.run(SECONDS / (kills + 1))
            await asyncio.to_thread(command.kill)
            await _start(command, simulation)
        await simulation.run(SECONDS / (kills + 1))
        await simulation.finish()
        await _compare(simulation, dsn)
        watching.cancel()
        simulation.is_over = True
        for device in simulation.devices:
            await device.disconnect(clean=False, away_for=0)


async def _start(command: ServerCommand, simulation: Simulation) -> None:
    simulation.server_up.clear()
    simulation.url = await asyncio.to_thread(command.start)
    simulation.server_up.set()


async def _compare(simulation: Simulation, dsn: str) -> None:
    stored = await stored_state.read(dsn)
    with contextlib.suppress(TimeoutError):  # the checks report which device is not up to date
        await eventually(lambda: stored.agrees_with(simulation.devices))
    stored.check_ids()
    stored.check_acknowledged(simulation.history)
    stored.check_deleted(simulation.history)
    simulation.history.check_order()
    for device in simulation.devices:
        stored.check_device(device)
    stored.check_gone(simulation.devices)
    simulation.log.check_skipped(stored.current_versions)
    devices, log = simulation.devices, simulation.log
    print(f"{simulation.history.ack_count} acknowledged, {len(log.delivered)} versions delivered")
    print(f"{len(log.skipped)} left out, {sum(each.connections for each in devices)} connections")
    print(f"{sum(each.resets for each in devices)} resets")
    print(dict(sorted(simulation.history.outcomes.items())))
