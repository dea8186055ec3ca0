"""Times as lists and tables of leads write them. Pure: no I/O.

Microsoft's connector writes `11/15/2025 20:02:52` to `MarketplaceLeads`. Other writers put the day first, or use dashes, AM and
PM. Spreadsheets add names of months, and days since 1899-12-30 (Microsoft Support, "DATEVALUE function"). A time without an
offset is UTC.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Final

_LONGEST: Final = 100
"""Most characters of a time. A longer text is not a time and is not parsed."""
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)


class DateOrder(StrEnum):
    """Whether `03/04/2026` begins with the month or the day."""

    MONTH = "mdy"
    DAY = "dmy"


_OTHER: Final = {DateOrder.MONTH: DateOrder.DAY, DateOrder.DAY: DateOrder.MONTH}
_USUAL: Final = {"/": DateOrder.MONTH, "-": DateOrder.DAY}

_TIME: Final = (
    r"(?:(?:T|, ?| )(\d{1,2}):(\d\d)(?::(\d\d)(?:\.\d+)?)?(?: ?([AP])\.?M\.?)?)?"
    r"(?: ?(Z|(?:UTC|GMT)?(?:[+-]\d\d:?\d\d)?))?"
)
_MONTH: Final = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)([a-z]{0,6})\.?"
_DAY_OF_WEEK: Final = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6},? )?"
_YEAR_FIRST: Final = re.compile(rf"(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_TIME}", re.IGNORECASE | re.ASCII)
_YEAR_LAST: Final = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_TIME}", re.IGNORECASE | re.ASCII)
_MONTH_FIRST: Final = re.compile(rf"{_DAY_OF_WEEK}{_MONTH} (\d{{1,2}}),? (\d{{4}}){_TIME}", re.IGNORECASE | re.ASCII)
_MONTH_SECOND: Final = re.compile(
    rf"{_DAY_OF_WEEK}(\d{{1,2}})[- ]{_MONTH}[-, ] ?(\d{{4}}){_TIME}", re.IGNORECASE | re.ASCII
)
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_SERIAL: Final = re.compile(r"(\d{5})(?:[.,](\d{1,15}))?", re.ASCII)
_SERIAL_ZERO: Final = datetime(1899, 12, 30, tzinfo=UTC)
_MARKS: Final = dict.fromkeys(map(ord, "\u200e\u200f\ufeff"))
"""Marks for the writing direction and byte order. Some browsers put them into dates."""


def read_date(text: str, order: DateOrder | None = None) -> datetime | None:
    """The moment, aware, in UTC; None if the text is not a time, or is before the year 2000.

    `order` applies to dates with slashes and dashes; a text that is not a date in this order gives None. Without `order`, a date
    with slashes is read with the month first, one with dashes with the day first; if that fails, in the other order. A date with
    dots always has the day first.
    """
    text = " ".join(text.translate(_MARKS).split())
    if len(text) > _LONGEST:
        return None
    if found := _YEAR_FIRST.fullmatch(text):
        year, _, month, day, *time = found.groups()
        return _moment(year, month, day, time)
    if found := _YEAR_LAST.fullmatch(text):
        first, separator, second, year, *time = found.groups()
        if separator == ".":
            return _moment(year, second, first, time)
        usual = order or _USUAL[separator]
        in_order = {DateOrder.MONTH: (first, second), DateOrder.DAY: (second, first)}
        moment = _moment(year, *in_order[usual], time)
        return moment if moment or order else _moment(year, *in_order[_OTHER[usual]], time)
    if found := _MONTH_FIRST.fullmatch(text):
        name, rest, day, year, *time = found.groups()
        return _moment(year, _month(name, rest), day, time)
    if found := _MONTH_SECOND.fullmatch(text):
        day, name, rest, year, *time = found.groups()
        return _moment(year, _month(name, rest), day, time)
    if found := _SERIAL.fullmatch(text):
        return _from_serial(f"{found[1]}.{found[2] or 0}")
    return None


def orders_shown(texts: Iterable[str]) -> dict[DateOrder, int]:
    """The orders in which some of the dates can only be read, each with the index of the first one that shows it.

    One list has one order of day and month. If a list shows both orders, its ambiguous dates can't be read.
    """
    shown: dict[DateOrder, int] = {}
    for index, text in enumerate(texts):
        readable = [order for order in DateOrder if read_date(text, order)]
        if len(readable) == 1:
            shown.setdefault(readable[0], index)
    return shown


def is_ambiguous(texts: list[str]) -> bool:
    """Whether some dates can be read in both orders, and no other date shows the list's order."""
    return not orders_shown(texts) and any(
        read_date(text, DateOrder.MONTH) != read_date(text, DateOrder.DAY) for text in texts
    )


def _month(name: str, rest: str) -> str:
    """The number of a month by its name, or by three or more of its first letters; "0" if the text is not a month."""
    written = (name + rest).lower()
    return next((str(number) for number, month in enumerate(_MONTHS, 1) if month.startswith(written)), "0")


def _from_serial(days: str) -> datetime | None:
    moment = _SERIAL_ZERO + timedelta(seconds=round(float(days) * 86400))
    return moment if moment >= EARLIEST else None


def _moment(year: str, month: str, day: str, time: list[str | None]) -> datetime | None:
    hour, minute, second, half, zone = time
    number = int(hour or 0)
    if half:
        if not 1 <= number <= 12:
            return None
        number = number % 12 + (12 if half.upper() == "P" else 0)
    try:
        moment = datetime(
            int(year), int(month), int(day), number, int(minute or 0), int(second or 0), tzinfo=_zone(zone)
        )
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment >= EARLIEST else None


def _zone(text: str | None) -> timezone:
    offset = (text or "").upper().removeprefix("UTC").removeprefix("GMT").removeprefix("Z")
    if not offset:
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
