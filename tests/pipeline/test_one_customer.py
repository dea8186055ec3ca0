"""Many leads of one customer at once are sent one after the other, without repeated storage requests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from leads.core.states import State
from tests.support.pipeline import Pipeline, a_lead, crm, deliver_at_once
from tests.support.proxy import Proxy
from tests.support.vendor import Vendor

LEADS = 36
THREADS = 24
"""The number of messages that an instance handles at once."""
REQUESTS_A_LEAD = 9


@pytest.mark.storage("azurite")
@pytest.mark.parametrize("count", [1, 3])
def test_many_leads_of_one_customer_cost_few_storage_requests_each(
    fresh_storage: str, monkeypatch: pytest.MonkeyPatch, vendor: Vendor, count: int, record_property: Any
) -> None:
    with Proxy(fresh_storage) as proxy:
        first = Pipeline(proxy.connection_string, monkeypatch)
        instances = [first] + [Pipeline(proxy.connection_string, monkeypatch, first.clock) for _ in range(count - 1)]
        first.offer(crm(vendor.url))
        leads = [first.post(a_lead(Description=f"request {number}")) for number in range(LEADS)]
        proxy.forget()
        deliver_at_once(instances, THREADS)
        while any(instance.queue.delayed for instance in instances):
            first.clock.time += timedelta(seconds=0.5)
            deliver_at_once(instances, THREADS)
        requests = sum(not request.is_poll for request in proxy.journal)
        assert first.states() == {State.DELIVERED: LEADS}
    assert vendor.records == dict.fromkeys(leads, 1)
    assert len({call.customer_record for call in vendor.calls} - {""}) == 1, "as one customer"
    record_property(
        "summary", f"{LEADS} leads of one customer, {count} instances: {requests / LEADS:.1f} requests a lead"
    )
    assert requests / LEADS < REQUESTS_A_LEAD
