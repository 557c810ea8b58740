"""How the benchmarks measure: CPU time of processes that end at any moment, and the machine's
description."""

import subprocess
import sys
import time
from contextlib import AbstractContextManager

import psutil

from bench import machine
from bench.cpu import CpuClock
from tests.processes import child

SHORT_LIVED_CHILDREN = """
import subprocess, sys
sys.stdout.write("ready\\n")
sys.stdout.flush()
for _ in range(60):
    subprocess.run(["true"])
    subprocess.run([sys.executable, "-S", "-c", "sum(range(200_000))"])
sys.stdin.read()
"""
BUSY_CHILDREN = """
import subprocess, sys
burn = "import time\\nend = time.process_time() + 0.2\\nwhile time.process_time() < end: pass"
for line in sys.stdin:
    subprocess.run([sys.executable, "-S", "-c", burn])
    sys.stdout.write("ended\\n")
    sys.stdout.flush()
"""


def _parent(program: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    return child(sys.executable, "-S", "-c", program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_clock_survives_children_that_end_while_they_are_read() -> None:
    """A hundred children start and end between and during the reads; the clock never goes back."""
    with _parent(SHORT_LIVED_CHILDREN) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        parent.stdout.readline()
        clock = CpuClock(psutil.Process(parent.pid), children=True)
        readings = []
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            readings.append(round(clock.seconds(), 3))
        parent.stdin.close()
    assert len(readings) > 10
    assert readings == sorted(readings)


def test_clock_counts_children_that_ended_between_two_reads() -> None:
    """Each child appears after the first read and ends before the second one."""
    with _parent(BUSY_CHILDREN) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        clock = CpuClock(psutil.Process(parent.pid), children=True)
        for _ in range(2):
            before = clock.seconds()
            parent.stdin.write("go\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == "ended\n"
            assert 0.15 <= clock.seconds() - before <= 1.0
        parent.stdin.close()


def test_clock_of_an_ended_process_stands_still() -> None:
    """A server that ends during a measurement leaves its last reading, not an error."""
    with _parent(BUSY_CHILDREN) as parent:
        assert parent.stdin is not None
        alone = CpuClock(psutil.Process(parent.pid))
        family = CpuClock(psutil.Process(parent.pid), children=True)
        last = (alone.seconds(), family.seconds())
        parent.stdin.close()
    assert (alone.seconds(), family.seconds()) == last


def test_machine_is_described() -> None:
    """Cores, CPU, builds of Python and PostgreSQL: what the figures of two runs may differ by."""
    described = machine.describe()
    assert described["cores"] >= 1
    assert described["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert described["python_pgo"] in (True, False, None)
    assert described["python_lto"] in (True, False, None)
    line = machine.headline(described)
    assert f"PostgreSQL {described['postgresql']}" in line
    assert "PGO" in line
