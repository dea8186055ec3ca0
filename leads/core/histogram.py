"""A histogram of durations. Its percentiles are exact to 5 %. Pure: no I/O."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, log
from typing import Final, Self

SHORTEST: Final = 0.1
"""Seconds. Shorter durations count as this."""
_STEP: Final = 1.1
"""Each bucket ends at this many times the end of the bucket before it. The middle of a bucket is off by at most √1.1."""


@dataclass(slots=True)
class Histogram:
    """How many durations are in each bucket: number n ends at `SHORTEST` × 1.1ⁿ."""

    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        self.buckets[max(0, ceil(log(max(seconds, SHORTEST) / SHORTEST, _STEP)))] += 1

    def add_all(self, other: Self) -> None:
        self.buckets.update(other.buckets)

    @property
    def count(self) -> int:
        return self.buckets.total()

    def percentile(self, percent: float) -> float:
        """The percentile (nearest rank) in seconds, exact to 5 %. Raises ValueError without durations."""
        rank, seen = ceil(self.count * percent / 100), 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return SHORTEST * _STEP ** (bucket - 0.5) if bucket else SHORTEST
        raise ValueError("there is no duration")

    def to_wire(self) -> dict[str, int]:
        """An object that JSON can hold."""
        return {str(bucket): self.buckets[bucket] for bucket in sorted(self.buckets)}

    @classmethod
    def from_wire(cls, wire: Mapping[str, int]) -> Self:
        return cls(Counter({int(bucket): int(count) for bucket, count in wire.items()}))
