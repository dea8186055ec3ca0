"""How the app calls a destination: within a time of its own, and a fault in its code stops nothing else."""

from typing import Final

from leads.core.outcomes import Outcome, Retry
from leads.core.problems import code_location
from leads.destinations.base import (
    OWN_OUTAGE_SECONDS,
    CheckResult,
    Customer,
    Destination,
    OutgoingLead,
)
from leads.platform import deadline
from leads.platform.storage import StorageError

SEND_SECONDS: Final = 150
"""The deadline of a `send` with all its requests (`leads.platform.deadline`)."""
CHECK_SECONDS: Final = 60
"""The deadline of a `check` with all its requests. A caller that ends sooner sets an earlier one."""


def check_connection(destination: Destination) -> CheckResult:
    """What a destination says of its connection within `CHECK_SECONDS`. A fault in its code does not stop other checks."""
    with deadline.within(CHECK_SECONDS):
        try:
            return destination.check()
        except Exception as error:  # noqa: BLE001 - one destination must not stop the others
            location = code_location(error)
            return CheckResult(ok=True, problem=f"its check has a fault of its own ({location})", code=location)


def send_lead(destination: Destination, outgoing: OutgoingLead, customer: Customer) -> Outcome:
    """What comes of sending a lead within `SEND_SECONDS`. A fault in the destination's code is a `Retry`."""
    with deadline.within(SEND_SECONDS):
        try:
            return destination.send(outgoing, customer)
        except StorageError as error:  # the app's own storage failed, not the vendor
            return Retry(type(error).__name__, OWN_OUTAGE_SECONDS, ours=True)
        except Exception as error:  # noqa: BLE001 - a fault in one destination must not take others' messages to poison
            return Retry(code_location(error))
