"""A figure beside its ceiling."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """`must` is the ratio to the ceiling that is asked for; None where there is no such."""

    scenario: str
    figure: float
    unit: str
    ceiling: float | None = None
    must: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.figure / self.ceiling if self.ceiling else None

    @property
    def holds(self) -> bool | None:
        return None if self.must is None or self.ratio is None else self.ratio >= self.must

    def line(self) -> str:
        def number(value: float | None, digits: int) -> str:
            return "–" if value is None else f"{value:,.{digits}f}"

        holds = {None: "", True: "yes", False: "NO"}[self.holds]
        return (
            f"{self.scenario:<44}{number(self.figure, 0 if self.figure > 100 else 1):>10} {self.unit:<8}"
            f"{number(self.ceiling, 0):>10}{number(self.ratio, 2):>7}{number(self.must, 2):>6}  {holds}"
        )

    def told(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "figure": round(self.figure, 2),
            "unit": self.unit,
            "ceiling": self.ceiling and round(self.ceiling, 2),
            "ratio": self.ratio and round(self.ratio, 3),
            "must": self.must,
            "holds": self.holds,
        }
