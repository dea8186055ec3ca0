"""Six-field NCRONTAB expressions: second, minute, hour, day, month, day of week (0 is Sunday).

https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
"""

from __future__ import annotations

import re
from datetime import datetime

from cronsim import CronSim, CronSimError

from devhost.errors import StartError

# cronsim also accepts names, L, # and 7 for Sunday. The host refuses the 7; devhost refuses all of them.
PLAIN = re.compile(r"[\d*,/\-\s]+")
SUNDAY_AS_7 = re.compile(r"(?<![/\d])7(?!\d)")


def next_time(expression: str, moment: datetime) -> datetime:
    """The first time after `moment` that matches six fields, or five fields with second 0.

    Raises StartError, which names the wrong field, and if no time matches.
    """
    try:
        schedule = CronSim(expression, moment)
    except CronSimError as error:
        raise _wrong(expression, str(error)) from None
    if not PLAIN.fullmatch(expression) or SUNDAY_AS_7.search(expression.rsplit(maxsplit=1)[-1]):
        raise _wrong(expression, "names and day-of-week 7 are not known")
    schedule.weekdays.discard(7)  # "1/2" would include 7, which cronsim reads as Sunday
    schedule.day_and = True  # as in NCRONTAB, day and day of week must both match
    found = next(schedule, None)
    if found is None:
        raise StartError(f"schedule {expression!r} never fires")
    return found


def _wrong(expression: str, why: str) -> StartError:
    return StartError(
        f'schedule {expression!r}: {why}; write six fields of *, n, a-b, a,b and /n, for instance "0 */5 * * * *"'
    )
