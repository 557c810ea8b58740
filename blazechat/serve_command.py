"""The process of `blazechat serve`: data folder, socket, event loop, banner, and its end."""

import asyncio
import gc
import signal
import socket
import sys

import structlog

from blazechat import listening, logs
from blazechat.banner import banner
from blazechat.config import Settings
from blazechat.data_folder import ServerLock, exclusive_lock, refuse_unfinished_restore
from blazechat.database.source import database_name
from blazechat.foreground import own_foreground_group
from blazechat.open_files import raise_limit
from blazechat.serve import UvicornServer, create_server
from blazechat.server import lifespan
from blazechat.web import create_app

GC_THRESHOLDS = (5_000, 5, 200)
"""Thresholds of Python's garbage collector: new objects, then collections of the younger generation."""
START_POLL_SECONDS = 0.01
STOPPED_MESSAGE = "\nBlazeChat has stopped, all is stored."
INTERRUPTED_MESSAGE = "\nBlazeChat was interrupted. All acknowledged messages are stored."
"""After Ctrl-C during the start, and after a second Ctrl-C."""

log = structlog.get_logger("blazechat.serve")


def run(settings: Settings, warnings: list[str]) -> None:
    """Run a server until Ctrl-C or SIGTERM. Logs `warnings` first.

    Raises DataFolderError, ListenError, and what `lifespan()` raises.
    """
    logs.configure(settings.log_level, settings.log_format)
    for warning in warnings:
        log.warning(warning)
    raise_limit()
    with (
        exclusive_lock(settings.data_dir) as lock,
        listening.bound_socket(settings.host, settings.port) as listener,
        own_foreground_group(),
    ):
        refuse_unfinished_restore(settings.data_dir)
        try:
            with _event_loop() as runner:
                runner.run(_serve(settings, listener, lock))
        except (KeyboardInterrupt, asyncio.CancelledError):
            print(INTERRUPTED_MESSAGE, flush=True)
        else:
            print(STOPPED_MESSAGE, flush=True)


async def _serve(settings: Settings, listener: socket.socket, lock: ServerLock) -> None:
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)  # until uvicorn handles the signals
    app = create_app(settings)
    async with lifespan(app):
        server = create_server(app, settings)
        loop.remove_signal_handler(signal.SIGTERM)
        running = asyncio.create_task(server.serve([listener]))
        await _until_started(server, running)
        _tune_garbage_collector()
        port = listener.getsockname()[1]
        lock.announce(listening.urls(settings.host, port)[-1])
        database = database_name(settings)
        print(banner(settings, port, database=database, command=sys.argv[0]), flush=True)
        await running


async def _until_started(server: UvicornServer, running: asyncio.Task[None]) -> None:
    while not server.started and not running.done():  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(START_POLL_SECONDS)


def _event_loop() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _tune_garbage_collector() -> None:
    """Exclude all objects that exist after the start, modules for the most part, from garbage collection.

    Traversing them again and again took a fifth of the server's time (bench/README.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
