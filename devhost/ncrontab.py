"""Six-field NCRONTAB expressions: second, minute, hour, day, month, day of week (0 is Sunday).

https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
"""

from __future__ import annotations

import re
from datetime import datetime

from cronsim import CronSim, CronSimError

from devhost.errors import StartError

# cronsim also knows names, L, # and 7 for Sunday; the host refuses the 7, and devhost all of them.
PLAIN = re.compile(r"[\d*,/\-\s]+")
SUNDAY_AS_7 = re.compile(r"(?<![/\d])7(?!\d)")


def next_time(expression: str, moment: datetime) -> datetime:
    """The first time after `moment` that six fields, or five for second 0, allow.

    Raises StartError naming the field that is wrong, and where no time fits.
    """
    try:
        schedule = CronSim(expression, moment)
    except CronSimError as error:
        raise _wrong(expression, str(error)) from None
    if not PLAIN.fullmatch(expression) or SUNDAY_AS_7.search(expression.rsplit(maxsplit=1)[-1]):
        raise _wrong(expression, "names and day-of-week 7 are not known")
    schedule.weekdays.discard(7)  # in "1/2" it would be Sunday
    schedule.day_and = True  # unlike in cron, day and day of week must both match, as in NCRONTAB
    found = next(schedule, None)
    if found is None:
        raise StartError(f"schedule {expression!r} never fires")
    return found


def _wrong(expression: str, why: str) -> StartError:
    return StartError(
        f'schedule {expression!r}: {why}; write six fields of *, n, a-b, a,b and /n, for instance "0 */5 * * * *"'
    )
