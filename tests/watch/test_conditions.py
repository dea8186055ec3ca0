"""Alarms begin and end once, on any instance, in the log and at the webhook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from leads.core.states import State
from leads.health.alarms import NOTIFY_LEASE
from leads.health.connection import CHECKED_AFTER
from leads.ledger.rows import LeadRecord
from leads.operations.connections import list_connections
from leads.operations.operation import Nothing
from leads.pipeline.intake import KeptUnreadable
from leads.platform.settings import read_settings
from leads.watch.announcements import HIDDEN_SECONDS
from leads.watch.probes import Prober
from tests.fakes.chat import Chat
from tests.fakes.tls import Authority
from tests.support.logs import logged
from tests.support.memory import account_at
from tests.support.memory.account import MemoryAccount
from tests.support.pipeline import Pipeline, a_lead, at_once, crm
from tests.support.recording import Recording
from tests.support.vendor import REJECTED, Vendor


@pytest.fixture
def chat(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    monkeypatch.setenv("LEADS_ALLOWED_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("LEADS_CA_BUNDLE", authority.bundle)
    with Chat(authority) as running:
        monkeypatch.setenv("LEADS_SECRET_CHAT", f"{running.url}/hook?sig=s3cret")
        yield running


@pytest.fixture
def told(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> Chat:
    """The chat behind the app's notification webhook."""
    monkeypatch.setenv("LEADS_NOTIFY_WEBHOOK", "env:LEADS_SECRET_CHAT")
    return chat


def reading_settings(*pipelines: Pipeline) -> None:
    for pipeline in pipelines:
        pipeline.app.__dict__["settings"] = read_settings()


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "leads")


def watch_for(pipeline: Pipeline, minutes: int) -> None:
    """Let time pass in steps of ten minutes."""
    for _ in range(minutes // 10):
        pipeline.clock.time += timedelta(minutes=10)
        pipeline.watch()


def alarms_posted(chat: Chat) -> list[tuple[str, bool]]:
    """Each posted alarm, and whether it had ended."""
    return [(alarm["event"], alarm["ended_at"] is not None) for post in chat.posts for alarm in post["alarms"]]


# --- Alarms -------------------------------------------------------------------------------------------------------------


def test_dead_letters_of_an_offer_are_one_alarm_however_many_they_are_and_however_often_it_is_looked(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.answers(REJECTED)
    for number in range(3):
        routed.post(a_lead(f"c{number}@example.com"))
    routed.run()
    routed.tick(3)
    (alarm,) = logged(caplog, "leads_need_a_person")
    assert alarm == {"state": "dead_letter", "offer": "contoso.crm", "destination": "crm", "count": 3}


def test_an_unreadable_body_is_an_alarm_until_nothing_of_it_is_left_to_do(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeptUnreadable) as kept:
        pipeline.post(b'{"UserDetails": ')
    pipeline.tick(2)
    about = {"state": "unreadable", "offer": "", "destination": ""}
    assert logged(caplog, "leads_need_a_person") == [about | {"count": 1}]

    def corrected(current: LeadRecord) -> None:
        current.deliveries[""].state = State.SKIPPED

    pipeline.app.ledger.settle(pipeline.record(kept.value.lead_id), corrected)
    pipeline.tick(2)
    assert logged(caplog, "leads_need_nobody") == [about]
    assert len(logged(caplog, "leads_need_a_person")) == 1


def test_a_lead_that_is_left_as_it_is_is_no_alarm_any_more_after_thirty_days(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.answers(REJECTED)
    routed.post()
    routed.run()
    routed.tick()
    routed.clock.time += timedelta(days=29)
    routed.tick()
    assert logged(caplog, "leads_need_nobody") == []
    routed.clock.time += timedelta(days=2)
    routed.tick()
    assert len(logged(caplog, "leads_need_nobody")) == len(logged(caplog, "leads_need_a_person")) == 1


def test_a_lead_that_is_parked_for_over_an_hour_is_an_alarm_until_it_has_gone(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.refuses()
    routed.post()
    routed.run()
    watch_for(routed, 50)
    assert logged(caplog, "leads_wait_long") == []
    watch_for(routed, 20)
    (alarm,) = logged(caplog, "leads_wait_long")
    assert alarm["type"] == "recording"
    assert alarm["minutes"] >= 60
    vendor.works()
    routed.tick(3)
    assert logged(caplog, "leads_wait_no_more") == [{"connection": alarm["connection"]}]


@pytest.mark.storage("azurite")
def test_two_instances_that_watch_at_once_raise_and_end_an_alarm_once(
    routed: Pipeline,
    second: Pipeline,
    vendor: Vendor,
    told: Chat,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reading_settings(routed, second)
    vendor.answers(REJECTED)
    lead = routed.post()
    routed.run()

    def both_watch() -> None:
        routed.clock.time += timedelta(minutes=1)
        at_once(routed.watch, second.watch)

    both_watch()
    both_watch()
    assert len(logged(caplog, "leads_need_a_person")) == 1

    def replayed(current: LeadRecord) -> None:
        current.deliveries["crm"].state = State.DELIVERED

    routed.app.ledger.settle(routed.record(lead), replayed)
    both_watch()
    both_watch()
    assert len(logged(caplog, "leads_need_nobody")) == 1
    assert alarms_posted(told) == [("leads_need_a_person", False), ("leads_need_a_person", True)]


def test_a_paused_connection_is_told_when_it_pauses_and_when_it_works_again(
    routed: Pipeline, vendor: Vendor, told: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    reading_settings(routed)
    vendor.refuses()
    routed.post()
    routed.run()
    routed.tick(2)
    vendor.works()
    routed.tick(3)
    assert alarms_posted(told) == [("connection_paused", False), ("connection_paused", True)]
    began, ended = [alarm for post in told.posts for alarm in post["alarms"]]
    assert {alarm["runbook"] for alarm in (began, ended)} == {"docs/how-to/on-call.md#connection_paused"}
    about = {"used_by": "contoso.crm/crm", "host": "127.0.0.1", "reason": "the secret has expired: make a new one"}
    assert began["fields"].items() >= (about | {"type": "recording", "waiting": 1}).items()
    assert logged(caplog, "connection_paused")[0].items() >= about.items()
    assert [began["meaning"], ended["meaning"]] == [
        "Leads for contoso.crm/crm are parked until the connection works: the secret has expired: make a new one.",
        "A paused connection works again, or no offer uses it now.",
    ]
    assert len(logged(caplog, "connection_paused")) == len(logged(caplog, "connection_opened")) == 1


def test_the_alarm_of_a_connection_ends_when_its_offer_has_another_address_and_its_leads_go_there(
    routed: Pipeline, vendor: Vendor, told: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    reading_settings(routed)
    vendor.fails()
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(5)]
    routed.run()
    routed.tick(65)
    with Vendor() as moved:
        routed.offer(crm(moved.url))
        routed.tick(3)
        assert moved.records == dict.fromkeys(leads, 1)
    assert routed.app.alarms.active() == []
    assert sorted(alarms_posted(told)) == [
        *(("connection_paused", False), ("connection_paused", True)),
        *(("leads_wait_long", False), ("leads_wait_long", True)),
    ]
    assert len(logged(caplog, "connection_opened")) == 1


def test_what_waits_behind_a_pause_that_a_person_forgot_says_so_without_the_persons_words(
    routed: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    [paused] = routed.ask(list_connections, Nothing()).connections
    routed.app.connections.pause_by_person(paused.id, paused.type, "until Ada is back")
    routed.post()
    routed.run()
    watch_for(routed, 70)
    (alarm,) = logged(caplog, "leads_wait_long")
    assert (alarm["reason"], alarm["waiting"]) == ("paused by a person", 1)


def test_what_waits_for_an_offers_ceiling_is_told_by_that_offer(
    pipeline: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    flooded(pipeline, vendor, ceiling=1, leads=3)
    watch_for(pipeline, 70)
    (alarm,) = logged(caplog, "leads_wait_long")
    assert (alarm["used_by"], alarm["waiting"]) == ("contoso.crm", 2)


def test_a_webhook_that_does_not_answer_is_told_later_and_nothing_holds_its_address_or_personal_data(
    routed: Pipeline, vendor: Vendor, told: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    reading_settings(routed)
    told.status = 500
    vendor.answers(REJECTED)
    routed.post()
    routed.run()
    routed.tick(2)
    assert logged(caplog, "notice_failed")[0] == {"what": "alarms", "why": "500"}
    told.status = 202
    routed.tick(int(NOTIFY_LEASE.total_seconds() // 60) + 1)
    assert alarms_posted(told) == [("leads_need_a_person", False)]
    everything = caplog.text + json.dumps(told.posts)
    for secret in ("s3cret", "ada@example.com", "O'Neil", "Example Works"):
        assert secret not in everything


# --- Connections --------------------------------------------------------------------------------------------------------


def test_a_connection_over_which_nothing_goes_is_asked_about_once_an_hour(routed: Pipeline, vendor: Vendor) -> None:
    watch_for(routed, 240)
    assert 3 <= vendor.checks <= 6


def test_a_connection_that_works_is_not_asked(routed: Pipeline, vendor: Vendor) -> None:
    routed.post()
    routed.run()
    for number in range(10):
        routed.post(a_lead(f"c{number}@example.com"))
        routed.run()
        watch_for(routed, 20)
    assert vendor.checks == 0


def test_a_secret_that_expired_pauses_the_connection_before_a_lead_needs_it(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    routed.tick()
    vendor.refuses()
    watch_for(routed, int(CHECKED_AFTER.total_seconds() // 60 * 1.4))
    (connection,) = routed.app.connections.stored()
    assert connection.paused
    assert vendor.calls == []
    vendor.works()
    routed.tick(2)
    assert not routed.app.connections.stored()[0].paused


def test_a_vendor_that_is_out_of_reach_pauses_nothing(routed: Pipeline, vendor: Vendor) -> None:
    vendor.fails()
    watch_for(routed, 130)
    assert not routed.app.connections.stored()[0].paused


def test_health_names_the_last_lead_and_the_next_check(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post()
    routed.run()
    (connection,) = routed.app.connections.stored()
    assert connection.last_lead == lead
    assert connection.next_check_at is not None
    hour = connection.next_check_at - routed.clock.now()
    assert timedelta(minutes=48) <= hour <= timedelta(minutes=72)
    vendor.refuses()
    routed.post(a_lead("b@example.com"))
    routed.run()
    routed.tick()
    (connection,) = routed.app.connections.stored()
    assert connection.next_check_at == routed.clock.now() + timedelta(minutes=1)


# --- Secrets that expire ------------------------------------------------------------------------------------------------


def test_an_expiry_is_warned_about_thirty_seven_and_one_day_before_and_ends_with_a_new_secret(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    day = (pipeline.clock.now() + timedelta(days=40)).date()
    hook = {"url": "https://hook.example.com/", "secret": "env:LEADS_SECRET_HOOK"}
    monkeypatch.setenv("LEADS_SECRET_HOOK", "whsec_" + "A" * 44)
    monkeypatch.setattr(Prober, "ask_vendors", lambda *_: None)  # nothing answers there
    destination = {"name": "hook", "type": "webhook", "settings": hook, "secret_expires": {"secret": str(day)}}
    pipeline.offer(destination)
    seen = []
    for days in (8, 3, 11, 11, 1, 5, 1):
        pipeline.clock.time += timedelta(days=days)
        pipeline.watch()
        seen = [(alarm["within"], alarm["days"]) for alarm in logged(caplog, "secret_expiring")]
    assert seen == [(30, 28), (7, 6), (1, 0)]
    pipeline.offer(destination | {"secret_expires": {"secret": str(day + timedelta(days=365))}})
    pipeline.watch()
    assert sorted(end["within"] for end in logged(caplog, "secret_renewed")) == [1, 7, 30]


def test_a_shared_access_signature_tells_itself_when_it_ends(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    end = (pipeline.clock.now() + timedelta(days=5)).strftime("%Y-%m-%dT%H%%3A%M%%3A%SZ")
    signed = f"TableEndpoint=https://other.table.core.windows.net;SharedAccessSignature=sv=2022-11-02&se={end}&sig=x"
    monkeypatch.setenv("LEADS_SECRET_OTHER", signed)
    monkeypatch.setattr(Prober, "ask_vendors", lambda *_: None)
    pipeline.offer(
        {"name": "table", "type": "azure_table", "settings": {"connection_string": "env:LEADS_SECRET_OTHER"}}
    )
    pipeline.watch()
    assert sorted(alarm["within"] for alarm in logged(caplog, "secret_expiring")) == [7, 30]
    assert "sig=x" not in caplog.text


# --- The ceiling --------------------------------------------------------------------------------------------------------


def flooded(pipeline: Pipeline, vendor: Vendor, ceiling: int, leads: int) -> list[str]:
    pipeline.offer(crm(vendor.url, pace=100), policies={"daily_ceiling": ceiling})
    posted = []
    for number in range(leads):
        posted.append(pipeline.post(a_lead(f"c{number}@example.com")))
        pipeline.run()
    return posted


def test_what_is_over_an_offers_ceiling_is_accepted_and_waits_for_the_next_day(
    pipeline: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    leads = flooded(pipeline, vendor, ceiling=5, leads=12)
    assert len(vendor.calls) == 5
    pipeline.tick(3)
    assert len(vendor.calls) == 5
    assert logged(caplog, "offer_over_ceiling") == [{"offer": "contoso.crm", "ceiling": 5}]
    assert logged(caplog, "connection_paused") == []
    for days in (1, 2):
        pipeline.clock.time += timedelta(days=1, hours=2)
        pipeline.tick(3)
        assert len(vendor.calls) == min(12, 5 * (days + 1))
    assert vendor.records == dict.fromkeys(leads, 1)
    pipeline.clock.time += timedelta(days=1, hours=2)
    pipeline.tick(2)
    assert logged(caplog, "offer_within_ceiling")[-1] == {"offer": "contoso.crm"}


def test_a_raised_ceiling_lets_them_go(pipeline: Pipeline, vendor: Vendor) -> None:
    leads = flooded(pipeline, vendor, ceiling=3, leads=6)
    pipeline.offer(crm(vendor.url, pace=100), policies={"daily_ceiling": None})
    pipeline.tick(2)
    assert vendor.records == dict.fromkeys(leads, 1)


def test_instances_count_together_and_test_leads_are_not_held_up(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url), policies={"daily_ceiling": 6})
    for number in range(5):
        for instance in (pipeline, second):
            instance.post(a_lead(f"c{number}.{id(instance)}@example.com"))
            instance.run()
            instance.app.connections.forget()
    assert len(vendor.calls) == 6
    mark = "MSFT_TEST_636573304831318844"
    pipeline.post(a_lead(f"{mark}@test.com", Description=mark))
    pipeline.run()
    assert len(vendor.calls) == 7


# --- Announcements ------------------------------------------------------------------------------------------------------


def test_a_delivered_lead_is_announced_without_personal_data_unless_the_offer_asks_for_it(
    pipeline: Pipeline, vendor: Vendor, chat: Chat
) -> None:
    reading_settings(pipeline)
    pipeline.offer(crm(vendor.url), announce={"webhook": "env:LEADS_SECRET_CHAT"})
    lead = pipeline.post()
    pipeline.run()
    pipeline.tick(2)
    ((announced,),) = [post["leads"] for post in chat.posts]
    assert announced == {
        "lead_id": lead,
        "offer": "contoso.crm",
        "stage": "initial_interest",
        "is_test": False,
        "destination": "crm",
        "link": "",
    }
    pipeline.offer(
        crm(vendor.url), announce={"webhook": "env:LEADS_SECRET_CHAT", "format": "slack", "with_person": True}
    )
    pipeline.app.offers.forget()
    other = pipeline.post(a_lead("bo@example.com"))
    pipeline.run()
    pipeline.tick()
    assert chat.posts[-1]["text"].splitlines() == [
        "*1 lead for Contoso CRM*",
        f"Initial interest – Ada O'Neil, Example Works, bo@example.com – crm, lead {other}",
    ]


def test_an_announcement_leads_to_the_crms_record(
    pipeline: Pipeline, vendor: Vendor, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recording, "record_link", lambda self, record_id: f"https://crm.example.com/{record_id}")
    reading_settings(pipeline)
    pipeline.offer(crm(vendor.url), announce={"webhook": "env:LEADS_SECRET_CHAT", "format": "teams"})
    lead = pipeline.post()
    pipeline.run()
    pipeline.tick(2)
    record = pipeline.delivery(lead).record_id
    title, line = [block["text"] for block in chat.posts[0]["attachments"][0]["content"]["body"]]
    assert title == "1 lead for Contoso CRM"
    assert line == f"Initial interest – crm – [open the record](https://crm.example.com/{record})"


def test_an_announcement_that_fails_holds_up_no_lead_and_is_made_later(
    pipeline: Pipeline, vendor: Vendor, chat: Chat, fresh_storage: str
) -> None:
    reading_settings(pipeline)
    pipeline.offer(crm(vendor.url), announce={"webhook": "env:LEADS_SECRET_CHAT"})
    chat.status = 503
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(3)]
    pipeline.run()
    assert vendor.records == dict.fromkeys(leads, 1)
    pipeline.tick()
    assert chat.posts == []
    chat.status = 200
    account = account_at(fresh_storage)
    assert isinstance(account, MemoryAccount)
    seen_again = account.now() + timedelta(seconds=HIDDEN_SECONDS)
    account.now = lambda: seen_again
    pipeline.tick()
    assert sorted(lead["lead_id"] for post in chat.posts for lead in post["leads"]) == sorted(leads)


def test_without_an_offer_that_announces_nothing_is_put_aside(routed: Pipeline, vendor: Vendor) -> None:
    routed.post()
    routed.run()
    assert routed.app.notices.depth() == 0
