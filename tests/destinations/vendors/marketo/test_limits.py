"""Errors of Marketo, its rate limit and daily quota, and its tokens."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, timedelta

import pytest

from leads.app import App
from leads.core.states import State
from leads.destinations.vendors.marketo import destination
from tests.fakes.https_server import Request, Response
from tests.fakes.marketo import CST, Marketo
from tests.support.marketo import check, is_write, tokens
from tests.support.pipeline import Pipeline, a_lead, code, deliver, state


def refusal(number: str) -> Response:
    return Response(200, {"success": False, "errors": [{"code": number, "message": "words"}]})


def skip(number: str) -> Response:
    return Response(200, {"success": True, "result": [{"status": "skipped", "reasons": [{"code": number}]}]})


@pytest.mark.parametrize(
    ("answer", "expected", "shown"),
    [
        (refusal("606"), State.RETRY, "606"),
        (refusal("615"), State.RETRY, "615"),
        (refusal("713"), State.RETRY, "713"),
        (refusal("614"), State.RETRY, "614"),
        (refusal("609"), State.RETRY, "609"),
        (refusal("1234"), State.DEAD_LETTER, "1234"),
        (skip("1001"), State.DEAD_LETTER, "1001"),
        (skip("1029"), State.RETRY, "1029"),
        (skip("1999"), State.DEAD_LETTER, "1999"),
        (Response(200, {"success": True, "result": [{"errors": [{"code": 1003}]}]}), State.DEAD_LETTER, "1003"),
        (Response(200, {"success": True, "result": []}), State.RETRY, "unreadable_answer"),
        (Response(200, {"success": True, "result": [{"status": "created"}]}), State.RETRY, "unreadable_answer"),
        (Response(200, {"success": True, "result": [{"id": 1, "status": "odd"}]}), State.RETRY, "unreadable_answer"),
        (Response(200, {"success": False}), State.RETRY, "unreadable_answer"),
        (Response(413, b"too large"), State.DEAD_LETTER, "413"),
        (Response(429, b"", {"Retry-After": "40"}), State.RETRY, "429"),
    ],
)
def test_both_levels_of_errors_are_read(
    pipeline: Pipeline, marketo: Marketo, answer: Response, expected: State, shown: str
) -> None:
    marketo.fail_next(answer, is_write)
    lead = deliver(pipeline)
    assert (state(pipeline, lead), code(pipeline, lead)) == (expected, shown)
    assert not marketo.persons


def test_a_rate_limit_that_others_have_used_up_is_waited_for(pipeline: Pipeline, marketo: Marketo) -> None:
    marketo.fail_next(refusal("606"), is_write)
    lead = deliver(pipeline)
    pipeline.advance(19)
    assert state(pipeline, lead) is State.RETRY
    pipeline.advance(2)
    assert state(pipeline, lead) is State.DELIVERED


def test_a_lead_without_a_slot_in_time_goes_back_to_the_queue_and_pauses_nothing(
    pipeline: Pipeline, fresh_storage: str, marketo: Marketo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.destinations.vendors.marketo.TURN_SECONDS", 0.2)
    monkeypatch.setattr("leads.destinations.vendors.marketo.CHECK_TURN_SECONDS", 0.2)
    other = App(pipeline.app.settings).destination(pipeline.app.offers.all()[0].destinations[0])
    assert isinstance(other, destination)
    taken = ExitStack()
    for _ in range(5):
        taken.enter_context(other.limiter.slot(1))
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(7)]
    pipeline.run()
    assert {state(pipeline, lead) for lead in leads} == {State.RETRY}
    assert {code(pipeline, lead) for lead in leads} == {"allowance"}
    assert not [found for found in pipeline.app.connections.stored() if found.paused]
    assert marketo.requests() == 0
    result = check(pipeline, marketo)
    assert result.transient and result.code == "allowance"
    taken.close()
    monkeypatch.undo()


def test_a_daily_quota_that_is_used_up_parks_the_leads_until_midnight_in_central_time(
    pipeline: Pipeline, marketo: Marketo
) -> None:
    noon = pipeline.clock.now().astimezone(CST).replace(hour=12, minute=0)
    pipeline.clock.time = noon.astimezone(UTC)
    deliver(pipeline)
    marketo.use_up_quota()
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(5)]
    pipeline.run()
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    assert "quota" in pipeline.delivery(leads[0]).reason
    (connection,) = [found for found in pipeline.app.connections.stored() if found.paused]
    assert "midnight" in connection.reason
    before = marketo.requests()
    pipeline.tick(5)
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    assert marketo.requests() - before == 5, "one call a minute, that of the check"
    midnight = (noon + timedelta(days=1)).replace(hour=0, minute=0, second=1)
    pipeline.clock.time = midnight.astimezone(UTC) - timedelta(minutes=2)
    pipeline.tick(1)
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    pipeline.tick(5)
    assert {state(pipeline, lead) for lead in leads} == {State.DELIVERED}


def test_the_token_goes_in_the_header_alone(pipeline: Pipeline, marketo: Marketo) -> None:
    deliver(pipeline)
    (token,) = marketo.issued
    for request in marketo.journal:
        assert token not in request.target and token.encode() not in request.body


def test_a_token_is_asked_for_once_in_its_life_however_near_its_end(pipeline: Pipeline, marketo: Marketo) -> None:
    for seconds in (0, 3500, 50, 60):
        pipeline.advance(seconds)
        deliver(pipeline, email=f"{seconds}@example.com")
    assert tokens(marketo) == 2


def test_a_token_with_no_time_left_is_used_and_renewed_where_it_is_refused(
    pipeline: Pipeline, marketo: Marketo
) -> None:
    deliver(pipeline)
    pipeline.app.context.__dict__["_shared"].clear()  # another instance, to which the last moment of the token is given
    pipeline.app.__dict__["_destinations"].clear()
    pipeline.clock.time += timedelta(seconds=3599, milliseconds=500)

    def time_flies(request: Request) -> None:
        if request.path.startswith("/rest/"):
            pipeline.clock.time += timedelta(milliseconds=400)

    marketo.fault = time_flies
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert len(pipeline.delivery(lead).attempts) == 1
