"""Takes the terminal's foreground from `make run`, so that Ctrl-C reaches the server and not make.

The terminal sends Ctrl-C to its foreground process group. Make belongs to it, and exits with an error after
Ctrl-C, however its recipe ends. So the server moves to a group of its own, as a shell does with a command.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

MAKE_VARIABLE = "MAKELEVEL"
"""Set by make for the commands of a recipe."""


@contextmanager
def own_foreground_group() -> Iterator[None]:
    """Run the block as the terminal's foreground group if make has started this process in it.

    Ctrl-Z suspends make as well, and `fg` continues both.
    """
    group = os.getpgrp()
    if not _is_started_by_make(group):
        yield
        return

    def suspend(signal_number: int, frame: FrameType | None) -> None:
        _give_terminal_to(group)
        os.setpgid(0, group)
        os.killpg(group, signal.SIGSTOP)  # this process as well; it continues here
        if _foreground_group() == group:
            _take_terminal()

    previous = signal.signal(signal.SIGTSTP, suspend)
    _take_terminal()
    try:
        yield
    finally:
        _give_terminal_to(group)
        signal.signal(signal.SIGTSTP, previous)


def _is_started_by_make(group: int) -> bool:
    """Return True if this process and its parent are in the foreground, and the parent is in this group."""
    return (
        MAKE_VARIABLE in os.environ
        and os.getpid() != group
        and os.getpgid(os.getppid()) == group
        and _foreground_group() == group
    )


def _foreground_group() -> int | None:
    try:
        return os.tcgetpgrp(sys.stdin.fileno())
    except (OSError, ValueError):  # standard input is no terminal
        return None


def _take_terminal() -> None:
    os.setpgid(0, 0)
    _give_terminal_to(os.getpgrp())


def _give_terminal_to(group: int) -> None:
    """Make a group the foreground one. A process in the background may do so while it ignores SIGTTOU."""
    previous = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        os.tcsetpgrp(sys.stdin.fileno(), group)
    except OSError:  # the terminal is gone
        pass
    finally:
        signal.signal(signal.SIGTTOU, previous)
