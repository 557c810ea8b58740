"""The media worker: a sandboxed process that inspects uploaded files for the server.

`python -m blazechat.media.worker MEMORY SECONDS`: the bytes of address space that the process may use, and
the seconds that a job may take. Jobs arrive on standard input one at a time, results leave on standard
output. The process ends when its input ends, which is also the case when the server was killed.
"""

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import BinaryIO

import msgspec

from blazechat.media import audio_video, images
from blazechat.media.file_types import AUDIO_VIDEO_PREFIXES, media_type_of
from blazechat.media.metadata import strip
from blazechat.media.worker_protocol import (
    LENGTH_BYTES,
    READY,
    FileInfo,
    InspectionJob,
    RejectedFile,
    framed,
)

GRACE_SECONDS = 5.0
"""Time for the server to end a job that takes too long, before the worker ends itself."""
MAX_OPEN_FILES = 64
"""Needed for Python modules, which are loaded on first use."""
NICENESS = 10
PR_SET_NO_NEW_PRIVS = 38
"""From linux/prctl.h."""
METADATA_ONLY_TYPES = ("image/heic", "image/heif")
"""Images whose metadata the worker can remove, but which it cannot decode."""


def main(arguments: list[str]) -> None:
    """Process jobs until standard input ends."""
    memory_bytes, job_seconds = int(arguments[0]), float(arguments[1])
    jobs = sys.stdin.buffer
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write into the results
    _restrict(memory_bytes)
    decoder = msgspec.msgpack.Decoder(InspectionJob)
    with suppress(BrokenPipeError):
        _write_message(results, READY)
        while (message := _read_message(jobs)) is not None:
            _set_alarm(job_seconds + GRACE_SECONDS)
            result = _run(decoder.decode(message), jobs)
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


def _run(job: InspectionJob, jobs: BinaryIO) -> FileInfo | RejectedFile:
    try:
        return _inspect(job, jobs.read(job.head_bytes), jobs.read(job.tail_bytes))
    except Exception as error:  # noqa: BLE001 -- decoders raise errors of any type
        reason = images.rejection_reason(error)
        if reason is None:
            traceback.print_exc()
        return RejectedFile(reason or images.UNREADABLE_IMAGE)


def _inspect(job: InspectionJob, head: bytes, tail: bytes) -> FileInfo:
    media_type = media_type_of(head)
    if media_type.startswith(AUDIO_VIDEO_PREFIXES):
        return audio_video.inspect(media_type, job.file_bytes, head, tail)
    if media_type not in images.DECODERS and media_type not in METADATA_ONLY_TYPES:
        return FileInfo(media_type)
    if len(head) < job.file_bytes:
        raise images.ImageRejected("The image is larger than this server accepts.")
    if media_type in METADATA_ONLY_TYPES:
        return FileInfo(media_type, patches=strip.find_patches(head, "HEIF", orientation=1))
    return images.inspect(head, media_type, job.max_pixels, job.thumbnail_sides)


if __name__ == "__main__":
    main(sys.argv[1:])
