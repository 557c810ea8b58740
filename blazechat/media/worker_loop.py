"""The loop of a worker process: reads jobs from standard input, and writes results to standard output.

A worker is sandboxed: it lowers its own priority, limits and privileges before its first job. It ends when
its input ends, which is also the case when the server was killed.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, TypeVar

import msgspec

from blazechat.media.worker_protocol import LENGTH_BYTES, READY, framed

GRACE_SECONDS = 5.0
"""Time for the server to end a job that takes too long, before the worker ends itself."""
MAX_OPEN_FILES = 64
"""Needed for Python modules, which are loaded on first use."""
NICENESS = 10
PR_SET_NO_NEW_PRIVS = 38
"""From linux/prctl.h."""

Job = TypeVar("Job", bound=msgspec.Struct)


def serve(
    arguments: list[str], job_type: type[Job], handle: Callable[[Job, BinaryIO], msgspec.Struct]
) -> None:
    """Process jobs until standard input ends.

    `arguments` are the bytes of address space that the process may use, and the seconds that a job may
    take. `handle` gets each job, and the input with the bytes that follow it.
    """
    memory_bytes, job_seconds = int(arguments[0]), float(arguments[1])
    jobs = sys.stdin.buffer
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write into the results
    _restrict(memory_bytes)
    decoder = msgspec.msgpack.Decoder(job_type)
    with suppress(BrokenPipeError):
        _write_message(results, READY)
        while (message := _read_message(jobs)) is not None:
            _set_alarm(job_seconds + GRACE_SECONDS)
            result = handle(decoder.decode(message), jobs)
            _set_alarm(0)
            _write_message(results, msgspec.msgpack.encode(result))


def _restrict(memory_bytes: int) -> None:
    """Lower this process's priority, resource limits and privileges."""
    if sys.platform == "win32":
        return
    import resource

    os.nice(NICENESS)
    for resource_id, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        with suppress(OSError, ValueError):  # macOS does not support all of them
            resource.setrlimit(resource_id, (limit, limit))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _set_alarm(seconds: float) -> None:
    """End this process after so many seconds; 0 cancels that."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _read_message(jobs: BinaryIO) -> bytes | None:
    """Return the next message; None if the input has ended, even in the middle of a message."""
    header = jobs.read(LENGTH_BYTES)
    length = int.from_bytes(header)
    message = jobs.read(length)
    return message if len(header) == LENGTH_BYTES and len(message) == length else None


def _write_message(results: BinaryIO, message: bytes) -> None:
    results.write(framed(message))
    results.flush()
