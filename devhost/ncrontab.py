"""Six-field NCRONTAB expressions: second, minute, hour, day, month, day of week (0 is Sunday).

https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from devhost.errors import StartError

FIELDS = (
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
)
ITEM = re.compile(r"(?:(\*)|(\d+)(?:-(\d+))?)(?:/(\d+))?")

# A day that never comes (30 February) is found out after the longest gap of one that does (29 February).
HORIZON = timedelta(days=366 * 9)


@dataclass(frozen=True)
class Schedule:
    """The values each field allows. Unlike in cron, day and day of week must both match, as in NCRONTAB."""

    expression: str
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def after(self, moment: datetime) -> datetime:
        """The first time that lies after `moment`; raises StartError if there is none."""
        candidate = moment.replace(microsecond=0) + timedelta(seconds=1)
        end = candidate + HORIZON
        while candidate < end:
            if not self._has_day(candidate):
                candidate = candidate.replace(hour=0, minute=0, second=0) + timedelta(days=1)
            elif candidate.hour not in self.hours:
                candidate = candidate.replace(minute=0, second=0) + timedelta(hours=1)
            elif candidate.minute not in self.minutes:
                candidate = candidate.replace(second=0) + timedelta(minutes=1)
            elif candidate.second not in self.seconds:
                candidate += timedelta(seconds=1)
            else:
                return candidate
        raise StartError(f"schedule {self.expression!r} never fires")

    def _has_day(self, moment: datetime) -> bool:
        return moment.month in self.months and moment.day in self.days and moment.isoweekday() % 7 in self.weekdays


def parse_schedule(expression: str) -> Schedule:
    """Parse five (second 0) or six fields; raises StartError naming the field that is wrong."""
    parts = expression.split()
    if len(parts) == 5:
        parts.insert(0, "0")
    if len(parts) != 6:
        raise StartError(f'schedule {expression!r}: write six fields, for instance "0 */5 * * * *"')
    values = [_values(part, *limits, expression) for part, limits in zip(parts, FIELDS, strict=True)]
    return Schedule(expression, *values)


def _values(part: str, name: str, low: int, high: int, expression: str) -> frozenset[int]:
    values: set[int] = set()
    for item in part.split(","):
        match = ITEM.fullmatch(item)
        if match is None:
            raise StartError(f"schedule {expression!r}: {name} {item!r}: write *, n, a-b, */n or a-b/n")
        star, first, last, step = match.groups()
        start = low if star else int(first)
        # "5/10" means: from 5 on, every 10.
        stop = high if star or (step and not last) else int(last or first)
        if not low <= start <= stop <= high or step == "0":
            raise StartError(f"schedule {expression!r}: {name} {item!r} is outside {low}-{high}")
        values.update(range(start, stop + 1, int(step or 1)))
    return frozenset(values)
