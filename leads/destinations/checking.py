"""How a destination's check of its connection is run."""

from leads.core.problems import code_location
from leads.destinations.base import CHECK_SECONDS, CheckResult, Destination
from leads.platform import deadline


def check_connection(destination: Destination) -> CheckResult:
    """What a destination says of its connection within `CHECK_SECONDS`. A fault in its code does not stop other checks."""
    with deadline.within(CHECK_SECONDS):
        try:
            return destination.check()
        except Exception as error:  # noqa: BLE001 - one destination must not stop the others
            location = code_location(error)
            return CheckResult(ok=True, problem=f"its check has a fault of its own ({location})", code=location)
