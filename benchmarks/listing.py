"""Storage requests of what a person or `watch` looks up, in a large ledger and in a small one."""

from collections.abc import Callable
from typing import Any

from benchmarks.effort import Effort
from benchmarks.filled import PARKED_CONNECTION, filled
from benchmarks.report import Result, Target, result
from benchmarks.typical import OFFER
from leads.app import App
from leads.core.states import State
from leads.ledger.queries import todo
from leads.operations.leads import LeadFilter, ShowLead, list_leads, show_lead
from leads.platform.settings import Settings
from leads.platform.storage import TABLE_TIMEOUTS
from tests.support.proxy import Proxy
from tools.azurite import AzuriteError

PATIENT: dict[str, Any] = TABLE_TIMEOUTS | {"read_timeout": 300, "retry_total": 0}
"""Azurite looks through the whole table for each query, as the real service does not."""


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Three rows."""
    sizes = [effort.ledger, effort.ledger_large]
    tell(f"filling ledgers of {sizes[0]:,} and {sizes[1]:,} leads")
    with filled(sizes, effort.parked) as (small, large):
        floor, ours = (_requests(storage, effort, tell) for storage in (small, large))
    numbers = f"{sizes[1]:,} leads against {sizes[0]:,}"
    within = Target("≤", 1.2)
    return [
        result(f"requests for the newest 50 of an offer, {numbers}", ours[0], within, floor=floor[0]),
        result(f"requests for all parked of a connection, {numbers}", ours[1], within, floor=floor[1]),
        result(f"requests for a lead by id, {numbers}", ours[2], Target("=", 1, "ours"), floor=floor[2]),
    ]


def _requests(storage: str, effort: Effort, tell: Callable[[str], None]) -> tuple[int, int, int]:
    with Proxy(storage) as proxy:
        app = App(Settings.model_validate({"LeadsStorage": proxy.connection_string}), PATIENT)

        def requests(what: str, look_up: Callable[[], int], expected: int) -> int:
            proxy.forget()
            if (found := look_up()) != expected:
                raise AzuriteError(f"{what}: {found} found instead of {expected}")
            tell(f"{what}: {proxy.counts().total()} requests")
            return proxy.counts().total()

        of_offer = LeadFilter(offer=OFFER)
        leads_of_offer = list_leads(app.ledger, of_offer).leads
        return (
            requests("newest of an offer", lambda: len(list_leads(app.ledger, of_offer).leads), len(leads_of_offer)),
            requests(
                "parked of a connection",
                lambda: len(todo(app.ledger, State.PARKED, PARKED_CONNECTION)),
                effort.parked,
            ),
            requests(
                "a lead by id",
                lambda: int(show_lead(app.ledger, ShowLead(lead_id=leads_of_offer[-1].lead_id)) is not None),
                1,
            ),
        )
