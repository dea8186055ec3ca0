"""Entra ID does not answer: leads that need a new token wait, all others continue, and no person has to act afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leads.core.states import State
from leads.health.connection import FAILURES_UNTIL_PAUSE
from tests.fakes.dataverse import Dataverse
from tests.fakes.https_server import Broken, Fault, Response
from tests.fakes.tls import Authority
from tests.support.dataverse import crm
from tests.support.pipeline import Pipeline, deliver, state
from tests.support.pipeline import crm as another_crm
from tests.support.vendor import Vendor

OUTAGES = pytest.mark.parametrize(
    "outage",
    [Broken(acts=False), Response(503, b"busy"), Response(429, b"slowly")],
    ids=["no answer", "503", "429"],
)
LEADS = FAILURES_UNTIL_PAUSE + 1
MINUTES = 10


@pytest.fixture
def signed_in(authority: Authority, pipeline: Pipeline) -> Iterator[Dataverse]:
    """Another environment with its own tenant and offer, for which this instance has a token."""
    with Dataverse(authority) as running:
        pipeline.offer(crm(running), offer_id="contoso.other", titles=["Other"])
        deliver(pipeline, OfferTitle="Other")
        yield running


@OUTAGES
def test_leads_wait_without_a_cost_and_are_delivered_once_it_answers(
    pipeline: Pipeline, dynamics: Dataverse, outage: Fault
) -> None:
    dynamics.entra.fault = lambda _: outage
    leads = [deliver(pipeline, email=f"c{number}@example.com") for number in range(LEADS)]
    pipeline.tick(MINUTES)
    deliveries = [pipeline.delivery(lead) for lead in leads]
    assert {(delivery.state, delivery.step, delivery.spent) for delivery in deliveries} == {(State.PARKED, 0, 0)}
    (connection,) = pipeline.app.connections.stored()
    assert connection.reason == "the environment, or its sign-in, did not answer"
    assert connection.refusal == "", "nobody has refused anything"
    assert dynamics.journal == [], "nothing goes out without a token"
    assert len(dynamics.entra.journal) <= FAILURES_UNTIL_PAUSE + MINUTES, (
        "it is asked once a minute, however many leads wait"
    )
    dynamics.entra.fault = lambda _: None
    pipeline.tick(3)
    assert pipeline.states() == {State.DELIVERED: LEADS}
    assert len(dynamics.leads) == LEADS
    assert not pipeline.app.connections.stored()[0].paused


@OUTAGES
def test_nothing_else_is_paused(
    pipeline: Pipeline, dynamics: Dataverse, signed_in: Dataverse, vendor: Vendor, outage: Fault
) -> None:
    pipeline.offer(another_crm(vendor.url), offer_id="contoso.third", titles=["Third"])
    for environment in (dynamics, signed_in):
        environment.entra.fault = lambda _: outage
    for number in range(LEADS):
        deliver(pipeline, email=f"c{number}@example.com")
        for title in ("Other", "Third"):
            lead = deliver(pipeline, email=f"c{number}@example.com", OfferTitle=title)
            assert state(pipeline, lead) is State.DELIVERED
    assert [connection.type for connection in pipeline.app.connections.stored() if connection.paused] == ["dataverse"]
    assert len(signed_in.leads) == LEADS + 1


@OUTAGES
def test_a_token_is_used_up_to_its_end(pipeline: Pipeline, dynamics: Dataverse, outage: Fault) -> None:
    deliver(pipeline)
    dynamics.entra.fault = lambda _: outage
    for number in range(LEADS):
        pipeline.advance((dynamics.entra.lifetime - 10) / LEADS)
        assert state(pipeline, deliver(pipeline, email=f"c{number}@example.com")) is State.DELIVERED
    assert not any(known.paused or known.failures for known in pipeline.app.connections.stored())
    pipeline.advance(11)
    assert state(pipeline, deliver(pipeline, "PLT")) is State.RETRY
    dynamics.entra.fault = lambda _: None
    pipeline.advance(13)
    assert pipeline.states() == {State.DELIVERED: LEADS + 2}
