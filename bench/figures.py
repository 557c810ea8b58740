"""Figures of a run, each with its ceiling and its requirement, and the table that prints them."""

from dataclasses import dataclass
from typing import Any

NAME_COLUMNS = 64


@dataclass(frozen=True)
class Figure:
    """One measured value. It has at most one requirement."""

    scenario: str
    value: float
    unit: str
    ceiling: float | None = None
    min_ratio: float | None = None
    """Required ratio of the value to the ceiling."""
    minimum: float | None = None
    """Required value."""
    maximum: float | None = None
    """Largest permitted value."""

    @property
    def ratio(self) -> float | None:
        return self.value / self.ceiling if self.ceiling else None

    @property
    def bound(self) -> float | None:
        """The requirement (`must`): for the ratio if `min_ratio` is set, else for the value."""
        return next(
            (bound for bound in (self.min_ratio, self.minimum, self.maximum) if bound is not None), None
        )

    @property
    def holds(self) -> bool | None:
        """True if the requirement is met; None without a requirement."""
        if self.min_ratio is not None:
            return self.ratio is not None and self.ratio >= self.min_ratio
        if self.minimum is not None:
            return self.value >= self.minimum
        return None if self.maximum is None else self.value <= self.maximum

    def as_row(self) -> str:
        holds = {None: "", True: "yes", False: "NO"}[self.holds]
        sign = "≤ " if self.maximum is not None else "≥ "
        must = "" if self.bound is None else sign + f"{self.bound:g}"
        ratio = "–" if self.ratio is None else f"{self.ratio:.2f}"
        figure, ceiling = _format(self.value), _format(self.ceiling)
        name = f"{self.scenario:<{NAME_COLUMNS}}"
        return f"{name}{figure:>10} {self.unit:<5}{ceiling:>10}{ratio:>7}{must:>8}  {holds}"

    def as_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "figure": round(self.value, 3),
            "unit": self.unit,
            "ceiling": None if self.ceiling is None else round(self.ceiling, 3),
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "must": self.bound,
            "holds": self.holds,
        }


def table(figures: list[Figure]) -> str:
    head = f"{'scenario':<{NAME_COLUMNS}}"
    head += f"{'figure':>10} {'unit':<5}{'ceiling':>10}{'ratio':>7}{'must':>8}  holds"
    return "\n".join([head, *(figure.as_row() for figure in figures)])


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _format(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
