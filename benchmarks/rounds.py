"""Side by side: ours and the floor in turn, until the ratio is sure enough or the time is used up."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.effort import Effort

Measure = Callable[[], Sequence[float]]
"""Measures one side once; gives a number for each thing measured."""


@dataclass(frozen=True)
class Compared:
    """Medians of both sides and of the ratio in each pair; `error` is the ratio's standard error as a share of it."""

    ours: float
    floor: float
    ratio: float
    error: float
    rounds: int


def compare(ours: Measure, floor: Measure, effort: Effort, tell: Callable[[str], None]) -> list[Compared]:
    """Measure in pairs, A B then B A, so that what changes slowly falls on both alike. One result for each thing."""
    pairs: list[tuple[Sequence[float], Sequence[float]]] = []
    ends = time.monotonic() + effort.most_seconds
    while True:
        if len(pairs) % 2 == 0:
            mine = ours()
            pairs.append((mine, floor()))
        else:
            base = floor()
            pairs.append((ours(), base))
        compared = [_compared([(mine[i], base[i]) for mine, base in pairs]) for i in range(len(mine))]
        ratios = ", ".join(f"{item.ratio:.3f} ± {item.error:.1%}" for item in compared)
        tell(f"round {len(pairs)}: ratio {ratios}")
        sure = all(item.error <= effort.error for item in compared)
        if len(pairs) >= effort.fewest_rounds and (sure or time.monotonic() > ends):
            return compared


def _compared(pairs: Sequence[tuple[float, float]]) -> Compared:
    ratios = [ours / floor for ours, floor in pairs]
    ratio = median(ratios)
    return Compared(
        ours=median(ours for ours, _ in pairs),
        floor=median(floor for _, floor in pairs),
        ratio=ratio,
        error=standard_error(ratios) / ratio,
        rounds=len(pairs),
    )


def standard_error(values: Sequence[float]) -> float:
    """Of the median, from the quartiles, which an outlier does not move: 1.25 · (IQR / 1.35) / √n. One value says nothing."""
    if len(values) < 2:
        return math.inf
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return 1.25 * (upper - lower) / 1.35 / math.sqrt(len(values))
