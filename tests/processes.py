"""Child processes of tests: Ctrl-C reaches them, and none outlives a test that fails."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def accept_ctrl_c() -> None:
    """Turn SIGINT on in this process, and so in its children.

    The shell of a script starts background commands (`make test &`) with SIGINT ignored, which children
    inherit. A server under test would then not end.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def child(*command: str, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """Start a command that the block ends. If the block fails, it is killed: `Popen` would wait for it."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
