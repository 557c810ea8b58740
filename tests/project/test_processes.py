"""Tests that run in the background of a script can be interrupted, and leave no process behind."""

import signal
import subprocess
import sys

import psutil
import pytest

from tests.processes import accept_ctrl_c, child

PRINT_HANDLER = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"


def test_children_of_tests_in_the_background_accept_ctrl_c() -> None:
    """The shell of a script has ignored SIGINT for them: `make test &`."""
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        accept_ctrl_c()
        done = subprocess.run(
            [sys.executable, "-c", PRINT_HANDLER], capture_output=True, text=True, check=True
        )
    finally:
        signal.signal(signal.SIGINT, earlier)
    assert done.stdout == "True\n"


def test_child_of_a_failing_test_is_killed() -> None:
    """It would keep running, and the test would wait for it."""
    with pytest.raises(AssertionError, match="a failing test"), child("sleep", "600") as process:
        raise AssertionError("a failing test")
    assert process.returncode == -signal.SIGKILL
    assert not psutil.pid_exists(process.pid)
