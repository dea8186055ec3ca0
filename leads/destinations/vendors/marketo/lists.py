"""Static lists: a person becomes a member after the lead is stored, and no fault of a list is the lead's."""

from leads.destinations.vendor_errors import FAILURES, ErrorKind, Problem, VendorError, outcome_of
from leads.destinations.vendors.marketo.client import Client
from leads.destinations.vendors.marketo.errors import WRONG_ADDRESS


def problem_with_list(client: Client, list_id: str, person_id: str) -> Problem | None:
    """Add the person to the list. Returns what went wrong, None if it is on the list."""
    try:
        client.add_to_list(list_id, person_id)
    except VendorError as refused:
        return None if refused.problem.kind is ErrorKind.ALREADY_THERE else refused.problem
    except FAILURES as failure:
        return Problem(ErrorKind.TRANSIENT, getattr(outcome_of(failure, WRONG_ADDRESS), "code", ""))
    return None
