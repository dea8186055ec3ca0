"""A claim whose storage answer was lost delays no lead, and causes no second send."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from leads.core.messages import Reception
from leads.core.states import State
from leads.ledger import transactions as ledger_module
from leads.pipeline.delivery import deliver
from leads.platform.settings import Settings
from leads.platform.storage import TABLE_TIMEOUTS, Storage
from tests.support.pipeline import Killed, Pipeline, a_lead, crm, text_of
from tests.support.proxy import Answer, Break, Delay, Fault, Proxy, Request, Rule
from tests.support.vendor import Vendor

pytestmark = pytest.mark.storage("azurite")

SHORT = TABLE_TIMEOUTS | {"read_timeout": 2.0}
LATE = 5.0
"""Seconds after which no attempt waits for the answer."""
PUT_BACK = 61
ENDED = -5


def claims_a_new_customer(request: Request) -> bool:
    return request.name == "table create LeadLedger"


def claims_a_known_customer(request: Request) -> bool:
    """The request also writes the lead's row."""
    return len(request.inner) == 2


def settles(request: Request) -> bool:
    return len(request.inner) > 2


class Next(Rule):
    """Does something to the next request of a kind, before or after storage carries it out."""

    def __init__(
        self,
        kind: Callable[[Request], bool],
        *,
        before: Fault | None = None,
        after: Fault | None = None,
    ) -> None:
        self._kind, self._before, self._after, self.done = kind, before, after, False

    def before(self, request: Request) -> Fault | None:
        return self._next(self._before, request)

    def after(self, request: Request) -> Fault | None:
        return self._next(self._after, request)

    def _next(self, fault: Fault | None, request: Request) -> Fault | None:
        if fault is None or self.done or not self._kind(request):
            return None
        self.done = True
        return fault


@pytest.fixture
def proxy(fresh_storage: str) -> Iterator[Proxy]:
    with Proxy(fresh_storage) as running:
        yield running


@pytest.fixture
def pipeline(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    settings = Settings.model_validate({"LeadsStorage": proxy.connection_string})
    return Pipeline(proxy.connection_string, monkeypatch, storage=Storage(settings, SHORT))


@pytest.fixture
def offer(pipeline: Pipeline, vendor: Vendor) -> None:
    """An offer with one destination, and all tables."""
    pipeline.offer(crm(vendor.url))
    pipeline.post(a_lead("grace@example.com"))
    pipeline.run()
    vendor.calls.clear()


@pytest.fixture(params=[claims_a_new_customer, claims_a_known_customer])
def claims(
    request: pytest.FixtureRequest, pipeline: Pipeline, vendor: Vendor, offer: None
) -> Callable[[Request], bool]:
    """Recognises the claim of the test's lead."""
    if request.param is claims_a_known_customer:
        pipeline.post()
        pipeline.run()
        vendor.calls.clear()
    found: Callable[[Request], bool] = request.param
    return found


def test_a_claim_whose_answer_was_lost_is_taken_up_in_the_same_attempt(
    pipeline: Pipeline, vendor: Vendor, proxy: Proxy, claims: Callable[[Request], bool]
) -> None:
    lead = pipeline.post(a_lead(action="PLT"))
    proxy.rule = rule = Next(claims, after=Answer(503))  # the SDK retries, and finds its own write
    pipeline.run()
    assert rule.done and not pipeline.pending()
    assert (pipeline.delivery(lead).state, vendor.keys()) == (State.DELIVERED, [lead])


def test_a_claim_that_storage_answers_for_too_late_does_not_hold_its_own_lead(
    pipeline: Pipeline, vendor: Vendor, proxy: Proxy, claims: Callable[[Request], bool]
) -> None:
    lead = pipeline.post(a_lead(action="PLT"))
    proxy.rule = Next(claims, after=Delay(LATE))
    pipeline.run()
    assert vendor.keys() == [] and len(pipeline.pending()) == 1
    pipeline.advance(PUT_BACK)
    assert (pipeline.delivery(lead).state, vendor.keys()) == (State.DELIVERED, [lead])


def test_a_claim_that_storage_writes_late_does_not_hold_its_own_lead(
    pipeline: Pipeline, vendor: Vendor, proxy: Proxy, claims: Callable[[Request], bool]
) -> None:
    lead = pipeline.post(a_lead(action="PLT"))
    proxy.rule = Next(claims, before=Delay(LATE))
    pipeline.run()
    assert vendor.keys() == [] and len(pipeline.pending()) == 1
    wait_until_carried_out(proxy)
    pipeline.advance(PUT_BACK)
    assert (pipeline.delivery(lead).state, vendor.keys()) == (State.DELIVERED, [lead])


def wait_until_carried_out(proxy: Proxy) -> None:
    (late,) = [request for request in proxy.journal if request.fault == "Delay"]
    ends_at = time.monotonic() + 60
    while not late.status:
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def test_another_process_waits_for_the_claim_to_end(
    pipeline: Pipeline, vendor: Vendor, proxy: Proxy, claims: Callable[[Request], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt can't know that no other attempt sends under the claim."""
    pipeline.post(a_lead(action="PLT"))
    proxy.rule = Next(claims, after=Delay(LATE))
    (message,) = pipeline.messages()
    deliver(pipeline.app, text_of(message))
    another = Pipeline(proxy.connection_string, monkeypatch, pipeline.clock)
    deliver(another.app, text_of(message))
    assert vendor.keys() == [] and len(another.pending()) == 1


def test_where_the_vendor_has_no_key_a_claim_that_was_given_up_is_no_attempt_that_may_have_been_sent(
    pipeline: Pipeline, vendor: Vendor, proxy: Proxy, offer: None
) -> None:
    pipeline.offer(crm(vendor.url, keyless=True))
    lead = pipeline.post()
    proxy.rule = Next(claims_a_new_customer, after=Delay(LATE))
    pipeline.run()
    pipeline.advance(PUT_BACK)
    assert [attempt.outcome for attempt in pipeline.delivery(lead).attempts] == ["delivered"]


def test_a_claim_that_was_given_up_hides_no_attempt_before_it_that_may_have_been_sent(
    pipeline: Pipeline, vendor: Vendor, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(crm(vendor.url, keyless=True))
    lead = pipeline.post()
    monkeypatch.setattr(ledger_module, "CLAIM_LEASE_SECONDS", ENDED)
    (message,) = pipeline.messages()
    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setattr(ledger_module.Ledger, "settle", _die)
        deliver(pipeline.app, text_of(message))
    proxy.rule = Next(claims_a_known_customer, after=Delay(LATE))
    deliver(pipeline.app, text_of(message))
    pipeline.advance(PUT_BACK)
    assert [attempt.code for attempt in pipeline.delivery(lead).attempts] == ["cut_off"]
    assert vendor.keys() == [lead]


def _die(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize("keyless", [False, True])
def test_an_outcome_that_could_not_be_stored_does_not_hold_its_own_lead(
    pipeline: Pipeline, vendor: Vendor, proxy: Proxy, keyless: bool
) -> None:
    pipeline.offer(crm(vendor.url, keyless=keyless))
    lead = pipeline.post()
    proxy.rule = Next(settles, before=Break())
    pipeline.run()
    assert vendor.keys() == [lead] and len(pipeline.pending()) == 1
    pipeline.advance(PUT_BACK)
    outcomes = [attempt.outcome for attempt in pipeline.delivery(lead).attempts]
    assert outcomes == (["unknown"] if keyless else ["delivered"])
    assert vendor.keys() == [lead] * (1 if keyless else 2), "it goes again under the same key, or waits for the policy"


def test_a_message_that_is_given_out_again_takes_up_the_claim_of_whoever_died_with_it(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, offer: None, proxy: Proxy
) -> None:
    """Otherwise a lead that kills its worker would wait for a claim each time, as a new message that never becomes poison."""
    lead = pipeline.post()
    (message,) = pipeline.messages()
    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setattr(ledger_module.Ledger, "settle", _die)
        dying.setattr(ledger_module.Ledger, "give_up", lambda *_, **__: None)
        deliver(pipeline.app, text_of(message), Reception(message.id, 1))
    another = Pipeline(proxy.connection_string, monkeypatch, pipeline.clock)
    deliver(another.app, text_of(message), Reception(message.id, 1))
    deliver(another.app, text_of(message), Reception("another message", 2))
    assert vendor.keys() == [lead] and len(another.pending()) == 2, "who has the claim may be alive"
    deliver(another.app, text_of(message), Reception(message.id, 2))
    assert (another.delivery(lead).state, vendor.keys()) == (State.DELIVERED, [lead, lead])
