"""CPU seconds of processes, and the share of a core that each takes during a measurement."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

MAX_READS = 20
"""After so many reads during each of which a child ended, the last one counts."""


class CpuClock:
    """CPU seconds of a process so far; with `children`, those of its direct children as well.

    Processes may start and end at any moment. An ended child counts with its whole time, as long as its
    parent waits for it, as PostgreSQL does. The clock of an ended process stands still.
    """

    def __init__(self, process: psutil.Process, *, children: bool = False) -> None:
        self._process = process
        self._has_children = children
        self._last_seconds = 0.0

    def seconds(self) -> float:
        with suppress(psutil.NoSuchProcess):
            self._last_seconds = self._read_family() if self._has_children else _seconds(self._process)
        return self._last_seconds

    def _read_family(self) -> float:
        """Read the children, and then the parent, which has the time of its ended children.

        A child that ends in between is in one of the two, in both or in none. So a read counts only if no
        child ended during it. Raises psutil.NoSuchProcess if the parent has ended.
        """
        ended = _ended_children_seconds(self._process)
        for _ in range(MAX_READS):
            living = sum(map(_seconds_or_zero, self._process.children()))
            ended_before, ended = ended, _ended_children_seconds(self._process)
            if ended == ended_before:
                break
        return _seconds(self._process) + living + ended


@contextmanager
def shares(phase: str, **clocks: Callable[[], float]) -> Iterator[None]:
    """Print the share of a core that each of the `clocks` took during the block, and all other programs.

    A clock returns CPU seconds so far. `stolen` is what the host of a virtual machine withheld from it; if
    that is not near 0, latencies are caused by the host as much as by the server.
    """

    def read() -> list[float]:
        return [*(clock() for clock in clocks.values()), _stolen_seconds(), _busy_seconds()]

    before, began = read(), time.perf_counter()
    yield
    spent = time.perf_counter() - began
    *measured, stolen, busy = (
        (after - earlier) / spent for earlier, after in zip(before, read(), strict=True)
    )
    texts = [f"{name} {share:.2f}" for name, share in zip(clocks, measured, strict=True)]
    others = max(0, busy - sum(measured))
    print(f"  CPU, {phase}: {', '.join(texts)}, others {others:.2f}, stolen {stolen:.3f}", flush=True)


def generator_seconds() -> float:
    """Return the CPU seconds of this process, the load generator."""
    return _seconds(psutil.Process())


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _seconds_or_zero(process: psutil.Process) -> float:
    try:
        return _seconds(process)
    except psutil.NoSuchProcess:  # it ended after it was listed
        return 0.0


def _ended_children_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _busy_seconds() -> float:
    """Return the CPU seconds of the whole machine so far, on all cores."""
    times = psutil.cpu_times()
    waited = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times[:8]) - waited) - _stolen_seconds()  # Linux counts guests twice, after the eighth


def _stolen_seconds() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))
