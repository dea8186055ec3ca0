"""Calls of a destination with a time limit. A fault in the destination's code does not stop other work."""

from typing import Final

from leads.core.outcomes import Outcome, Retry
from leads.core.problems import code_location
from leads.destinations.base import OWN_OUTAGE_SECONDS, CheckResult, Customer, Destination, OutgoingLead
from leads.platform import deadline
from leads.platform.storage import StorageError

SEND_SECONDS: Final = 150
"""The time limit of a `send` with all its requests (`leads.platform.deadline`)."""
CHECK_SECONDS: Final = 60
"""The time limit of a `check` with all its requests. A caller with less time sets an earlier deadline."""


def check_connection(destination: Destination) -> CheckResult:
    """The result of a destination's check within `CHECK_SECONDS`. A fault in the destination's code gives an `ok` result."""
    with deadline.within(CHECK_SECONDS):
        try:
            return destination.check()
        except Exception as error:  # noqa: BLE001 - one destination must not stop the others
            location = code_location(error)
            words = f"the check failed because of a fault in the app ({location})"
            return CheckResult(ok=True, problem=words, code=location)


def send_lead(destination: Destination, outgoing: OutgoingLead, customer: Customer) -> Outcome:
    """The outcome of sending a lead within `SEND_SECONDS`. A fault in the destination's code is a `Retry`."""
    with deadline.within(SEND_SECONDS):
        try:
            return destination.send(outgoing, customer)
        except StorageError as error:  # the app's own storage failed, not the vendor
            return Retry(type(error).__name__, OWN_OUTAGE_SECONDS, ours=True)
        except Exception as error:  # noqa: BLE001 - a fault in one destination must not poison the message of the others
            return Retry(code_location(error))
