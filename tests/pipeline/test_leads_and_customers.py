"""From a body to offer, customer and destinations: routing, redeliveries, journeys, several destinations."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from leads.core.identity import new_lead_id
from leads.core.lead import Lead
from leads.core.states import State
from leads.ledger.customer_rows import RecentLead
from leads.ledger.operations import RECENT_AT_MOST, new_customer, with_recent_lead
from leads.ledger.queries import newest, todo
from leads.pipeline.delivery import deliver
from leads.pipeline.intake import KeptUnreadable
from tests.support.pipeline import Killed, Pipeline, a_lead, at_once, crm, text_of
from tests.support.vendor import DELIVERED, REJECTED, RETRY, Vendor

# --- Redeliveries, repeats, journeys --------------------------------------------------------------------------------------


@pytest.mark.storage("azurite")
def test_the_same_lead_fifty_times_at_once_is_one_record_and_49_redeliveries(
    routed: Pipeline, second: Pipeline, vendor: Vendor
) -> None:
    with ThreadPoolExecutor(16) as pool:
        leads = list(pool.map(lambda _: routed.post(), range(50)))
    assert len(set(leads)) == 50
    at_once(*[instance.run for instance in (routed, second) for _ in range(2)])
    for instance in (routed, second):
        for _ in range(3):
            instance.advance(11)
    states = [routed.delivery(lead) for lead in leads]
    assert len(vendor.records) == 1
    delivered = next(iter(vendor.records))
    assert [delivery.state for delivery in states].count(State.DUPLICATE) == 49
    assert {delivery.duplicate_of for delivery in states} == {"", delivered}


@pytest.mark.storage("azurite")
def test_a_customers_three_stages_at_once_are_one_customer_with_three_stages(
    routed: Pipeline, second: Pipeline, vendor: Vendor
) -> None:
    leads = [routed.post(a_lead(action=action)) for action in ("INS", "PLT", "Create")]
    at_once(routed.run, second.run)
    for instance in (routed, second):
        for _ in range(4):
            instance.advance(11)
    assert sorted(vendor.keys()) == sorted(leads)
    first = vendor.calls[0].key
    assert [call.customer_record for call in vendor.calls] == ["", first, first]
    assert {call.stage for call in vendor.calls} == {"initial_interest", "contact_requested", "purchase"}
    assert {call.customer for call in vendor.calls} == {vendor.calls[0].customer}


def test_the_same_lead_after_the_window_is_a_repeat(routed: Pipeline, vendor: Vendor) -> None:
    first = routed.post()
    routed.advance(14 * 60)
    redelivery = routed.post()
    routed.advance(2 * 60)
    repeat = routed.post()
    routed.run()
    assert routed.delivery(redelivery).duplicate_of == first
    assert routed.delivery(repeat).state is State.DELIVERED
    assert routed.delivery(repeat).repeat_of == first
    assert vendor.calls[-1].repeat_of == first


@pytest.mark.parametrize(
    ("apart", "newer", "older"), [(14, State.DELIVERED, State.DUPLICATE), (16, State.DELIVERED, State.DELIVERED)]
)
def test_the_older_of_two_may_be_handled_last_and_is_no_repeat_of_the_newer(
    apart: int, newer: State, older: State, routed: Pipeline, vendor: Vendor
) -> None:
    first = routed.post()
    [message] = routed.messages()
    routed.advance(apart * 60)
    second = routed.post()
    routed.run()
    deliver(routed.app, text_of(message))
    assert (routed.delivery(second).state, routed.delivery(first).state) == (newer, older)
    assert routed.delivery(first).repeat_of == ""


def test_repeats_are_only_recorded_where_the_policy_says_so(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url), policies={"repeats": "skip"})
    pipeline.post()
    pipeline.advance(16 * 60)
    repeat = pipeline.post()
    pipeline.run()
    assert pipeline.delivery(repeat).state is State.SKIPPED
    assert len(vendor.calls) == 1


def test_a_redelivery_is_recognised_while_the_first_one_still_waits_for_its_next_try(
    routed: Pipeline, vendor: Vendor
) -> None:
    vendor.answers(RETRY, DELIVERED)
    first = routed.post()
    routed.run()
    redelivery = routed.post()
    routed.run()
    assert routed.delivery(redelivery).duplicate_of == first
    routed.advance(13)
    assert vendor.keys() == [first, first]


def test_a_redelivery_is_recognised_behind_many_other_leads_of_the_customer(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url))
    first = pipeline.post(a_lead(Description="the first"))
    others = [pipeline.post(a_lead(Description=f"wish {number}")) for number in range(30)]
    pipeline.run()
    again = pipeline.post(a_lead(Description="the first"))
    pipeline.run()
    assert pipeline.delivery(again).duplicate_of == first
    assert Counter(vendor.keys()) == Counter([first, *others])


def test_the_row_of_a_customer_with_very_many_leads_at_once_fits_a_column(pipeline: Pipeline) -> None:
    """A text column holds 32 Ki characters (Microsoft Learn, "Understanding the Table service data model")."""
    row = new_customer("0123456789abcdef0123456789abcdef", "contoso.crm;crm")
    for number in range(200):
        at = pipeline.clock.now() + timedelta(seconds=number)
        claim = f"{'f' * 16}/{number:05}/{'f' * 16}"
        row = with_recent_lead(
            row,
            RecentLead(
                "f" * 64, new_lead_id(at, Lead()), at, claim=claim, action_fingerprint="f" * 64, stored_by="d" * 60
            ),
        )
    assert 50 < len(row.recent) <= RECENT_AT_MOST
    assert len(row.entity()["recent"]) < 32 * 1024


def test_a_redelivery_that_was_parked_beside_the_first_one_is_recognised_when_both_come_back(
    routed: Pipeline, vendor: Vendor
) -> None:
    vendor.refuses()
    routed.post(a_lead("other@example.com"))
    routed.run()
    twins = [routed.post(), routed.post()]
    routed.run()
    vendor.works()
    routed.tick(3)
    assert sorted(routed.delivery(lead).state for lead in twins) == [State.DELIVERED, State.DUPLICATE]


def test_the_same_person_at_two_offers_is_a_redelivery_of_neither(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url, wide_scope=True))
    pipeline.offer(crm(vendor.url, wide_scope=True), offer_id="contoso.erp", titles=["Contoso ERP"])
    leads = [pipeline.post(offer="contoso.crm"), pipeline.post(offer="contoso.erp")]
    pipeline.run()
    assert [pipeline.delivery(lead).state for lead in leads] == [State.DELIVERED] * 2
    assert len({call.customer for call in vendor.calls}) == 1


def test_the_same_lead_at_the_addresses_of_two_offers_is_no_redelivery_though_the_default_offer_takes_both(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url), offer_id="*", titles=[])
    leads = [pipeline.post(offer=offer) for offer in ("contoso.crm", "contoso.erp", " Contoso.CRM ")]
    pipeline.run()
    assert [pipeline.delivery(lead).state for lead in leads] == [State.DELIVERED, State.DELIVERED, State.DUPLICATE]
    assert pipeline.delivery(leads[2]).duplicate_of == leads[0]


def test_leads_without_personal_data_never_merge(routed: Pipeline, vendor: Vendor) -> None:
    bare = {"LeadSource": "AzureMarketplace", "ActionCode": "INS", "OfferTitle": "Contoso CRM"}
    leads = [routed.post(bare) for _ in range(3)]
    routed.run()
    assert sorted(vendor.records) == sorted(leads)
    assert len({call.customer for call in vendor.calls}) == 3


def test_the_customers_row_stays_small_after_many_leads(routed: Pipeline, vendor: Vendor) -> None:
    for number in range(12):
        routed.post(a_lead(Description=f"note {number}"))
        routed.run()
        routed.advance(16 * 60)
    customer = routed.app.ledger.customer(vendor.calls[0].customer, "contoso.crm|crm")
    assert customer is not None
    assert len(customer.recent) == 8
    assert customer.claim == ""


# --- Routing --------------------------------------------------------------------------------------------------------------


def test_an_unrouted_lead_is_kept_and_delivered_by_itself_when_its_offer_appears(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    lead = pipeline.post()
    pipeline.run()
    assert pipeline.record(lead).state is State.UNROUTED
    assert [item.lead_id for item in newest(pipeline.app.ledger, offer="-")] == [lead]
    pipeline.tick(2)
    pipeline.offer(crm(vendor.url))
    pipeline.tick(2)
    assert pipeline.delivery(lead).state is State.DELIVERED
    assert vendor.records == {lead: 1}
    assert newest(pipeline.app.ledger, offer="-") == []
    assert [item.lead_id for item in newest(pipeline.app.ledger, offer="contoso.crm")] == [lead]
    assert todo(pipeline.app.ledger, State.UNROUTED) == []


def test_a_lead_whose_title_two_offers_share_waits_and_names_both(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url), offer_id="contoso.saas", titles=["Contoso CRM"])
    pipeline.offer(crm(vendor.url), offer_id="contoso.vm", titles=["CONTOSO crm", "Old"])
    lead = pipeline.post()
    pipeline.run()
    waiting = pipeline.record(lead).deliveries[""]
    assert waiting.state is State.UNROUTED
    assert waiting.reason == "several offers have the name in this lead: contoso.saas, contoso.vm"


def test_an_unrouted_lead_that_two_workers_route_at_once_goes_to_each_destination_once(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = pipeline.post()
    pipeline.run()
    pipeline.offer(crm(vendor.url), crm(vendor.url, "other"))
    pipeline.watch()
    pipeline.clock.time += timedelta(minutes=1)
    (message,) = pipeline.messages()
    settle = pipeline.app.ledger.settle

    def while_another_worker_is_faster(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(pipeline.app.ledger, "settle", settle)
        deliver(second.app, text_of(message))
        second.run()
        return settle(*arguments, **named)

    monkeypatch.setattr(pipeline.app.ledger, "settle", while_another_worker_is_faster)
    deliver(pipeline.app, text_of(message))
    pipeline.run()
    assert vendor.keys() == [lead] * 2
    assert {name: one.state for name, one in pipeline.record(lead).deliveries.items()} == {
        "crm": State.DELIVERED,
        "other": State.DELIVERED,
    }


def test_the_default_offer_takes_what_no_other_does(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url), offer_id="*", titles=[])
    lead = pipeline.post(a_lead(OfferTitle="never heard of"), "nobody.knows")
    pipeline.run()
    assert vendor.keys() == [lead]


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a#b?c%d", "100% / more", "Ünï;cødé\u202e", "x" * 490, "it's"])
def test_an_offer_may_have_any_name(pipeline: Pipeline, vendor: Vendor, name: str) -> None:
    pipeline.offer(crm(vendor.url), offer_id=name)
    lead = pipeline.post(a_lead(OfferTitle="other"), name)
    pipeline.run()
    assert pipeline.delivery(lead).state is State.DELIVERED
    assert [item.lead_id for item in newest(pipeline.app.ledger, offer=name)] == [lead]


def test_an_unrouted_lead_may_name_anything(pipeline: Pipeline) -> None:
    lead = pipeline.post({"LeadSource": "x|a/b\\c#d?e%f" + "y" * 5000, "OfferTitle": "z" * 40_000}, "q/\\#?%")
    pipeline.run()
    assert pipeline.record(lead).state is State.UNROUTED


def test_a_changed_offer_counts_on_every_instance_after_a_minute(
    routed: Pipeline, second: Pipeline, vendor: Vendor
) -> None:
    second.app.offers.all()
    with Vendor() as replacement:
        routed.offer(crm(replacement.url))
        routed.clock.time += timedelta(seconds=60)
        lead = second.post()
        second.run()
        assert replacement.keys() == [lead]
        assert vendor.calls == []


def test_a_lead_whose_offer_was_removed_waits_until_it_is_back(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url))
    vendor.answers(RETRY, DELIVERED)
    lead = pipeline.post()
    pipeline.run()
    pipeline.app.offers.remove("contoso.crm")
    pipeline.advance(13)
    assert pipeline.delivery(lead).state is State.UNROUTED
    pipeline.offer(crm(vendor.url))
    pipeline.tick(2)
    assert pipeline.delivery(lead).state is State.DELIVERED


@pytest.mark.parametrize("names", [["crm"], ["crm", "second"]])
def test_a_lead_whose_offer_was_removed_goes_to_the_next_one_that_takes_it(
    names: list[str], pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(*(crm(vendor.url, name=name) for name in names))
    vendor.answers(RETRY)
    lead = pipeline.post()
    pipeline.run()
    pipeline.app.offers.remove("contoso.crm")
    pipeline.advance(13)
    assert pipeline.record(lead).state is State.UNROUTED
    with Vendor() as other:
        pipeline.offer(crm(other.url, name="new"), offer_id="contoso.renamed")
        pipeline.tick(2)
        assert other.keys() == [lead]
    record = pipeline.record(lead)
    assert (record.offer, record.state, list(record.deliveries)) == ("contoso.renamed", State.DELIVERED, ["new"])
    assert [item.offer for item in newest(pipeline.app.ledger)] == ["contoso.renamed"]
    assert todo(pipeline.app.ledger, State.UNROUTED) == []
    assert len(vendor.calls) == len(names)


def test_a_lead_leaves_its_removed_offer_with_all_of_its_destinations_at_once(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    with Vendor() as slow, Vendor() as other:
        pipeline.offer(crm(vendor.url), crm(slow.url, name="second"))
        vendor.answers(RETRY)
        slow.answers(RETRY | {"after": 300})
        lead = pipeline.post()
        pipeline.run()
        pipeline.app.offers.remove("contoso.crm")
        pipeline.offer(crm(other.url), offer_id="contoso.renamed")
        pipeline.tick(2)
        assert pipeline.delivery(lead).state is State.UNROUTED
        assert other.calls == [], "the other one may be under way yet"
        pipeline.advance(300)
        pipeline.tick()
        assert other.keys() == [lead]
        assert pipeline.record(lead).state is State.DELIVERED


def test_a_lead_that_its_removed_offer_had_delivered_in_part_waits_for_that_offer(
    pipeline: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    """With another offer, the same CRM could get the lead twice."""
    caplog.set_level("INFO", "leads")
    with Vendor() as down:
        down.answers(RETRY, DELIVERED)
        destinations = crm(vendor.url), crm(down.url, name="second")
        pipeline.offer(*destinations)
        lead = pipeline.post()
        pipeline.run()
        pipeline.app.offers.remove("contoso.crm")
        pipeline.advance(13)
        pipeline.offer(crm(vendor.url), offer_id="*", titles=[])
        pipeline.tick(2)
        assert pipeline.delivery(lead, "second").state is State.UNROUTED
        assert "event=leads_redriven" not in caplog.text, "it takes nobody's turn meanwhile"
        pipeline.offer(*destinations, offer_id="Contoso.CRM")
        pipeline.tick(2)
        assert pipeline.record(lead).state is State.DELIVERED
        assert vendor.keys() == [lead]


def test_a_lead_whose_destination_was_removed_is_dead_lettered_with_the_reason(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url))
    vendor.answers(RETRY)
    lead = pipeline.post()
    pipeline.run()
    pipeline.offer(crm(vendor.url, name="new"))
    pipeline.advance(13)
    assert pipeline.delivery(lead).state is State.DEAD_LETTER
    assert "no longer has the destination crm" in pipeline.delivery(lead).reason


# --- Policies and `when` ----------------------------------------------------------------------------------------------------


def test_test_leads_are_delivered_marked(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url))
    lead = pipeline.post(a_lead(Description="MSFT_TEST_636573304831318844"))
    pipeline.run()
    assert pipeline.delivery(lead).state is State.DELIVERED
    assert newest(pipeline.app.ledger)[0].is_test


def test_when_decides_which_destination_gets_a_lead(pipeline: Pipeline, vendor: Vendor) -> None:
    with Vendor() as sales:
        pipeline.offer(
            crm(vendor.url, name="all"),
            crm(sales.url, name="hot", when={"stage": ["contact_requested"], "country": ["us"], "is_test": False}),
        )
        cold, hot = pipeline.post(), pipeline.post(a_lead("b@example.com", "PLT"))
        pipeline.run()
        assert set(vendor.records) == {cold, hot}
        assert set(sales.records) == {hot}
        assert set(pipeline.record(cold).deliveries) == {"all"}


def test_a_lead_that_no_destination_wants_is_recorded_as_skipped(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url, when={"country": ["DE"]}))
    lead = pipeline.post()
    pipeline.run()
    assert pipeline.record(lead).state is State.SKIPPED


# --- Several destinations ---------------------------------------------------------------------------------------------------


def test_one_destination_down_for_an_hour_delays_the_other_by_nothing(pipeline: Pipeline, vendor: Vendor) -> None:
    with Vendor() as other:
        pipeline.offer(crm(vendor.url), crm(other.url, name="warehouse"))
        vendor.fails()
        lead = pipeline.post()
        pipeline.run()
        assert pipeline.delivery(lead, "warehouse").state is State.DELIVERED
        assert pipeline.delivery(lead, "crm").state is State.RETRY
        for _ in range(12):
            pipeline.advance(240)
            pipeline.tick()
        assert pipeline.delivery(lead, "crm").state in {State.RETRY, State.PARKED}
        vendor.works()
        pipeline.tick(3)
        assert pipeline.delivery(lead, "crm").state is State.DELIVERED
        assert vendor.records == {lead: 1} == other.records
        assert other.keys() == [lead]


def test_the_destinations_of_a_lead_are_fixed_when_it_is_routed(pipeline: Pipeline, vendor: Vendor) -> None:
    with Vendor() as other:
        pipeline.offer(crm(vendor.url), crm(vendor.url, name="second"))
        vendor.answers(RETRY)
        lead = pipeline.post()
        pipeline.step()
        pipeline.offer(crm(vendor.url), crm(vendor.url, name="second"), crm(other.url, name="third"))
        vendor.works()
        pipeline.run()
        pipeline.advance(20)
        assert set(pipeline.record(lead).deliveries) == {"crm", "second"}
        assert other.calls == []


def test_a_fan_out_that_died_in_the_middle_is_completed_and_nothing_is_sent_twice(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url), crm(vendor.url, name="second"))
    lead = pipeline.post()
    first = pipeline.queue.receive(1, 1)[0]
    put = pipeline.queue.put

    def put_and_die(text: str, delay: int = 0) -> None:
        put(text, delay)
        raise Killed

    pipeline.queue.put = put_and_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        deliver(pipeline.app, text_of(first))
    pipeline.queue.put = put  # type: ignore[method-assign]
    pipeline.run()
    deliver(pipeline.app, text_of(first))
    pipeline.queue.delete(first)
    pipeline.advance(20)
    assert sorted(pipeline.record(lead).deliveries) == ["crm", "second"]
    assert pipeline.record(lead).state is State.DELIVERED
    assert len(vendor.calls) == 2


def test_the_message_that_began_a_fan_out_begins_nothing_again(pipeline: Pipeline, vendor: Vendor) -> None:
    with Vendor() as strict:
        strict.answers(REJECTED)
        pipeline.offer(crm(vendor.url), crm(strict.url, name="strict"))
        lead = pipeline.post()
        [message] = pipeline.messages()
        for _ in range(2):
            deliver(pipeline.app, text_of(message))
            pipeline.run()
        assert vendor.keys() == strict.keys() == [lead]
        assert pipeline.delivery(lead, "strict").state is State.DEAD_LETTER


# --- Bodies ---------------------------------------------------------------------------------------------------------------


def test_a_large_lead_goes_through_the_ledger_and_arrives_whole(routed: Pipeline, vendor: Vendor) -> None:
    note = "é" * 40_000 + "end"
    lead = routed.post(a_lead(Description=note))
    assert routed.app.ledger.body(lead) is not None
    vendor.answers(RETRY, DELIVERED)
    routed.run()
    routed.advance(13)
    assert vendor.calls[-1].lead["description"] == note
    assert routed.record(lead).lead is not None


def test_a_body_whose_message_was_refused_is_swept_after_eight_days(
    routed: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leads.core.lead import Lead

    orphan = new_lead_id(routed.clock.now(), Lead())
    routed.app.ledger.keep_body(orphan, b"x" * 100_000)
    kept = routed.post(a_lead(Description="y" * 100_000))
    routed.run()
    routed.clock.time = routed.clock.time.replace(minute=0)
    for days in (7, 2):
        assert routed.app.ledger.body(orphan) is not None
        routed.clock.time += timedelta(days=days)
        routed.watch()
    assert routed.app.ledger.body(orphan) is None
    assert routed.app.ledger.body(kept) is not None


def test_a_large_lead_that_waited_on_the_queue_for_longer_keeps_its_body(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post(a_lead(Description="y" * 100_000))
    routed.clock.time = routed.clock.time.replace(minute=0) + timedelta(days=9)
    routed.watch()
    routed.run()
    assert len(vendor.calls[0].lead["description"]) == 100_000
    assert routed.delivery(lead).state is State.DELIVERED


def test_no_log_line_holds_anything_of_the_customer(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "leads")
    vendor.answers(RETRY, REJECTED)
    routed.post(a_lead("marker.person@example.com", Description="marker note"))
    routed.run()
    routed.advance(13)
    with pytest.raises(KeptUnreadable):
        routed.post(b'{"UserDetails": marker.person@example.com')
    text = caplog.text
    assert "event=lead_attempted" in text
    for secret in ("marker", "example.com", "O'Neil", "Ada", "16175555555", "Example Works"):
        assert secret not in text


def test_an_offer_that_can_not_be_read_keeps_its_leads_waiting_and_stops_no_other(
    pipeline: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    with Vendor() as default:
        pipeline.offer(crm(default.url), offer_id="*", titles=[])
        pipeline.offer(crm(vendor.url), offer_id="fabrikam.erp", titles=["Fabrikam ERP"])
        broken = {"PartitionKey": "offer", "RowKey": "contoso.crm", "changed_at": pipeline.clock.now(), "offer": "{}"}
        pipeline.app.storage.table("LeadOffers").client.upsert_entity(broken)
        pipeline.app.offers.forget()
        waiting, other = pipeline.post(), pipeline.post(a_lead(OfferTitle="Fabrikam ERP"))
        pipeline.run()
        assert pipeline.delivery(other).state is State.DELIVERED
        assert pipeline.record(waiting).state is State.UNROUTED
        assert "event=offer_unreadable" in caplog.text
        pipeline.offer(crm(vendor.url))
        pipeline.tick(2)
        assert pipeline.delivery(waiting).state is State.DELIVERED
        assert default.calls == []
