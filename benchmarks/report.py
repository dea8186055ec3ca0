"""What is printed and written: one row for each thing measured."""

import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from rich import box
from rich.table import Table

from benchmarks.rounds import Compared

_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "≥": operator.ge,
    "≤": operator.le,
    "=": operator.eq,
}


@dataclass(frozen=True)
class Target:
    """A bound for the ratio of ours to the floor, or for ours alone."""

    comparison: Literal["≥", "≤", "="]
    bound: float
    of: Literal["ratio", "ours"] = "ratio"

    def __str__(self) -> str:
        return f"{self.comparison} {self.bound:g}{' ×' if self.of == 'ratio' else ''}"

    def is_met(self, ours: float, ratio: float | None) -> bool:
        value = ours if self.of == "ours" else ratio
        return value is not None and _COMPARISONS[self.comparison](value, self.bound)


@dataclass(frozen=True)
class Row:
    """One measured thing. `floor` and `ratio` are None where there is nothing to compare with."""

    what: str
    floor: float | None
    ours: float
    ratio: float | None
    target: str
    met: bool


@dataclass(frozen=True)
class Result:
    """A row, and how sure it is: `error` is the standard error of the ratio as a share of it, None for a count.

    `note` says what the row alone does not, such as requests that were left out of a count.
    """

    row: Row
    error: float | None = None
    rounds: int | None = None
    note: str = ""


def result(
    what: str,
    ours: float,
    target: Target,
    *,
    floor: float | None = None,
    ratio: float | None = None,
    error: float | None = None,
    rounds: int | None = None,
    note: str = "",
) -> Result:
    """A result; the ratio is ours to floor unless it was measured pair by pair."""
    if ratio is None and floor:
        ratio = ours / floor
    met = target.is_met(ours, ratio)
    return Result(Row(what, floor, ours, ratio, str(target), met), error, rounds, note)


def compared_result(what: str, compared: Compared, target: Target) -> Result:
    """The result of a comparison in rounds."""
    return result(
        what,
        compared.ours,
        target,
        floor=compared.floor,
        ratio=compared.ratio,
        error=compared.error,
        rounds=compared.rounds,
    )


def as_table(results: Sequence[Result]) -> Table:
    """All results, one line each."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("what", "floor", "ours", "ratio", "±", "rounds", "target", "met?"):
        table.add_column(
            name, justify="left" if name in {"what", "target", "met?"} else "right", no_wrap=name != "what"
        )
    for item in results:
        row = item.row
        table.add_row(
            row.what,
            _number(row.floor),
            _number(row.ours),
            "" if row.ratio is None else f"{row.ratio:.3f}",
            "" if item.error is None else f"{item.error:.1%}",
            "" if item.rounds is None else str(item.rounds),
            row.target,
            "[green]yes[/]" if row.met else "[bold red]no[/]",
        )
    return table


def notes(results: Sequence[Result]) -> list[str]:
    """The notes of the results, each with what it is about."""
    return [f"{item.row.what}: {item.note}" for item in results if item.note]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def write_json(results: Sequence[Result], path: Path) -> None:
    """Write the rows for programs to read."""
    text = json.dumps({"rows": [asdict(item.row) for item in results]}, ensure_ascii=False, indent=2)
    path.write_text(text + "\n", "utf-8")
