"""The program that looks at files, apart from the server and with next to nothing that it may do.

`python -m blazechat.media.worker MEMORY SECONDS`: bytes of address space that it may take, and seconds that
a job may. Jobs come in at standard input one by one, answers go out at standard output, and it ends when
the input does, which is also when the server has been killed.
"""

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import BinaryIO

import msgspec

from blazechat.media import audio_video, images
from blazechat.media.file_types import MOVING, kind_of
from blazechat.media.metadata import strip
from blazechat.media.worker_protocol import HELLO, LENGTH, Look, Refused, Seen, framed

GRACE = 5.0
"""Seconds that the server is given to end a job that takes too long before it ends by itself."""
FILES = 64
"""Files that may be open: modules, which are loaded when they are needed."""
NICENESS = 10
NO_NEW_PRIVILEGES = 38
"""PR_SET_NO_NEW_PRIVS, from linux/prctl.h."""
HELD = ("image/heic", "image/heif")
"""Pictures whose metadata are known, and their pixels not."""


def main(arguments: list[str]) -> None:
    memory, seconds = int(arguments[0]), float(arguments[1])
    jobs = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not an answer
    _confine(memory)
    decoder = msgspec.msgpack.Decoder(Look)
    with suppress(BrokenPipeError):
        _say(answers, HELLO)
        while (message := _next(jobs)) is not None:
            _set_alarm(seconds + GRACE)
            answer = _answer(decoder.decode(message), jobs)
            _set_alarm(0)
            _say(answers, msgspec.msgpack.encode(answer))


def _confine(memory: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    os.nice(NICENESS)
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        with suppress(OSError, ValueError):  # macOS does not know all of them
            resource.setrlimit(what, (most, most))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _set_alarm(seconds: float) -> None:
    """End this process in so many seconds. 0: do not."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _next(jobs: BinaryIO) -> bytes | None:
    """The next job; None when there is none any more, be it in the middle of one."""
    head = jobs.read(LENGTH)
    length = int.from_bytes(head)
    message = jobs.read(length)
    return message if len(head) == LENGTH and len(message) == length else None


def _say(answers: BinaryIO, message: bytes) -> None:
    answers.write(framed(message))
    answers.flush()


def _answer(look: Look, jobs: BinaryIO) -> Seen | Refused:
    try:
        return _seen(look, jobs.read(look.head), jobs.read(look.tail))
    except Exception as error:  # noqa: BLE001 -- decoders raise whatever comes to them
        sentence = images.sentence(error)
        if sentence is None:
            traceback.print_exc()
        return Refused(sentence or images.UNREADABLE)


def _seen(look: Look, head: bytes, tail: bytes) -> Seen:
    kind = kind_of(head)
    if kind.startswith(MOVING):
        return audio_video.look(kind, look.size, head, tail)
    if kind not in images.DECODERS and kind not in HELD:
        return Seen(kind)
    if len(head) < look.size:
        raise images.Damaged("The image is larger than this server looks at.")
    if kind in HELD:
        return Seen(kind, patches=strip.patches(head, "HEIF", 1))
    return images.look(head, kind, look.max_pixels, look.thumbnails)


if __name__ == "__main__":
    main(sys.argv[1:])
