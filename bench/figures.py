"""Figures, each beside its ceiling and what is asked of it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """`must` is the least ratio to the ceiling; `least` and `most` bound the figure itself. One at most."""

    scenario: str
    figure: float
    unit: str
    ceiling: float | None = None
    must: float | None = None
    least: float | None = None
    most: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.figure / self.ceiling if self.ceiling else None

    @property
    def asked(self) -> float | None:
        """What is asked for: of the ratio where `must` is set, else of the figure."""
        return next((bound for bound in (self.must, self.least, self.most) if bound is not None), None)

    @property
    def holds(self) -> bool | None:
        if self.must is not None:
            return self.ratio is not None and self.ratio >= self.must
        if self.least is not None:
            return self.figure >= self.least
        return None if self.most is None else self.figure <= self.most

    def line(self) -> str:
        holds = {None: "", True: "yes", False: "NO"}[self.holds]
        sign = "≤ " if self.most is not None else "≥ "
        asked = "" if self.asked is None else sign + f"{self.asked:g}"
        return (
            f"{self.scenario:<58}{_number(self.figure):>10} {self.unit:<5}{_number(self.ceiling):>10}"
            f"{'–' if self.ratio is None else f'{self.ratio:.2f}':>7}{asked:>8}  {holds}"
        )

    def told(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "figure": round(self.figure, 3),
            "unit": self.unit,
            "ceiling": None if self.ceiling is None else round(self.ceiling, 3),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "must": self.asked,
            "holds": self.holds,
        }


def table(figures: list[Figure]) -> str:
    head = f"{'scenario':<58}{'figure':>10} {'unit':<5}{'ceiling':>10}{'ratio':>7}{'must':>8}  holds"
    return "\n".join([head, *(figure.line() for figure in figures)])


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie, 0 to 1."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
