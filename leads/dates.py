"""Times as lists and tables of leads write them. Pure: no I/O.

`MarketplaceLeads` has `11/15/2025 20:02:52` from Microsoft's connector, and rows that others wrote have the day first, dashes, or
AM and PM (a reader of such tables of 2025 tries seven forms). Without an offset a time is UTC.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Final

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)


class DateOrder(StrEnum):
    """What stands first in `03/04/2026`."""

    MONTH = "mdy"
    DAY = "dmy"


_TIME: Final = r"(?:(?:[T,]|,?\s)\s*(\d{1,2}):(\d\d)(?::(\d\d)(?:\.\d+)?)?\s*([AP]M)?)?\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?"
_YEAR_FIRST: Final = re.compile(rf"(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_TIME}", re.IGNORECASE | re.ASCII)
_YEAR_LAST: Final = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_TIME}", re.IGNORECASE | re.ASCII)


def read_date(text: str, order: DateOrder = DateOrder.MONTH) -> datetime | None:
    """The moment, aware, in UTC; None if the text is none, or lies before the year 2000.

    `order` decides `03/04/2026` and nothing else: `15/04/2026` is in April either way, and dashes and dots have the day first.
    """
    text = text.strip()
    if found := _YEAR_FIRST.fullmatch(text):
        year, _, month, day, *time = found.groups()
        return _moment(year, month, day, time)
    if found := _YEAR_LAST.fullmatch(text):
        first, separator, second, year, *time = found.groups()
        if separator == "/" and order is DateOrder.MONTH:
            return _moment(year, first, second, time) or _moment(year, second, first, time)
        in_order = _moment(year, second, first, time)
        return in_order or (_moment(year, first, second, time) if separator == "/" else None)
    return None


def order_of(texts: list[str]) -> DateOrder:
    """The order that more of the dates admit: whoever writes one file writes all of it in one way."""
    days, months = _evidence(texts)
    return DateOrder.DAY if days > months else DateOrder.MONTH


def is_either_way(texts: list[str]) -> bool:
    """Whether there are dates that can be read in two ways, and the others do not tell which is meant."""
    days, months = _evidence(texts)
    return days == months and any(read_date(text, DateOrder.MONTH) != read_date(text, DateOrder.DAY) for text in texts)


def _evidence(texts: list[str]) -> tuple[int, int]:
    """How many of the dates can only have the day first, and how many only the month."""
    firsts = [
        (int(found[1]), int(found[3]))
        for text in texts
        if (found := _YEAR_LAST.fullmatch(text.strip())) and found[2] == "/"
    ]
    return sum(first > 12 for first, _ in firsts), sum(second > 12 for _, second in firsts)


def _moment(year: str, month: str, day: str, time: list[str | None]) -> datetime | None:
    hour, minute, second, half, zone = time
    number = int(hour or 0)
    if half:
        if not 1 <= number <= 12:
            return None
        number = number % 12 + (12 if half.upper() == "PM" else 0)
    try:
        moment = datetime(
            int(year), int(month), int(day), number, int(minute or 0), int(second or 0), tzinfo=_zone(zone)
        )
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment >= EARLIEST else None


def _zone(text: str | None) -> timezone:
    if not text or text.upper() in {"Z", "UTC", "GMT"}:
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
