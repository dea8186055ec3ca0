"""Erasing a customer by e-mail address, and showing all data about a customer."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest

from leads.core.identity import customer_hash, new_lead_id
from leads.core.lead_parsing import parse_body
from leads.core.messages import Imported, Message, encode
from leads.core.states import State
from leads.ledger.rows import ERASED_ON_REQUEST, lead_key
from leads.ledger.tombstones import Tombstone
from leads.ledger.transactions import LEDGER_TABLE, LedgerBusy
from leads.operations.people import Access, ErasedPart, Erasure, HeldPart, erase_customer, show_customer
from leads.operations.problems import Invalid, Unavailable
from leads.pipeline import importing, replay
from leads.pipeline.delivery import deliver
from leads.platform.storage import Conflict
from leads.privacy import erasure
from leads.privacy.stores import PersonalDataStores
from tests.support.dying import dies_after
from tests.support.leftovers import leftovers
from tests.support.logs import logged
from tests.support.memory import account_at, memory_account
from tests.support.memory.account import MemoryAccount
from tests.support.pipeline import Pipeline, TestClock, a_lead, crm, text_of
from tests.support.vendor import REJECTED, RETRY, Call, Vendor

EMAIL = "ada@example.com"
PERSON = {
    "FirstName": "Ada-Marie",
    "LastName": "Ó'Neil",
    "Email": "Ada@Example.com ",
    "Phone": "+1 617 555 5555",
    "Country": "USA",
    "Company": "Example & Works",
    "Title": "Chief Tester",
}
VALUES = (
    EMAIL,
    "Ada-Marie",
    "Ó'Neil",
    "+1 617 555 5555",
    "Example & Works",
    "Chief Tester",
    "the secret wish",
    "gold-card",
)
TABLE = {"name": "table", "type": "azure_table"}


@pytest.fixture(autouse=True)
def now(pipeline: Pipeline) -> None:
    """Storage's time counts for an erasure."""
    pipeline.clock.time = datetime.now(UTC)


def hers(action: str = "INS", **more: Any) -> dict[str, Any]:
    """A lead of the person with unusual content."""
    body = {
        "UserDetails": PERSON | {"LoyaltyCard": "gold-card"},
        "LeadSource": "AzureMarketplace",
        "ActionCode": action,
        "OfferTitle": "Contoso CRM",
        "Description": "the secret wish\x07 "
        + "of "
        + EMAIL,  # the control character makes the intake keep the original
        "ContactMail": EMAIL,
    }
    return body | more


def erase(pipeline: Pipeline, email: str = EMAIL, *, dry_run: bool = False) -> ErasedPart:
    """The whole erasure, step by step."""
    whole = ErasedPart(next=None, traces=[], handed_over=[], looked_at=0)
    after = ""
    while True:
        step = pipeline.ask(erase_customer, Erasure(email=email, dry_run=dry_run, after=after))
        whole.traces += step.traces
        whole.handed_over += step.handed_over
        whole.looked_at += step.looked_at
        if step.next is None:
            return whole
        after = step.next


def access(pipeline: Pipeline, email: str = EMAIL) -> HeldPart:
    step = pipeline.ask(show_customer, Access(email=email))
    assert step.next is None
    return step


def left(storage: str) -> list[str]:
    return leftovers(storage, VALUES)


@pytest.mark.storage("memory", "azurite")
def test_nothing_of_a_customer_is_left_anywhere(
    pipeline: Pipeline, vendor: Vendor, fresh_storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.offer(crm(vendor.url), TABLE)
    pipeline.offer(crm(vendor.url), offer_id="other.one", titles=["Other"])
    delivered = pipeline.post(hers())
    pipeline.run()
    large = pipeline.post(hers("PLT", Description="the secret wish " * 5000))
    pipeline.run()
    vendor.answer = lambda call: REJECTED
    refused = pipeline.post(hers("Create", OfferTitle="Other"))
    pipeline.run()
    vendor.answer = lambda call: RETRY
    retried = pipeline.post(hers("StartTestDrive", OfferTitle="Other"))
    pipeline.run()
    unrouted = pipeline.post(hers(OfferTitle="Nobody's"))
    pipeline.run()
    unreadable = [
        keep_unreadable(pipeline, b'{"UserDetails": {"Email": "ADA@example.com", "Company": "Example & Works"'),
        keep_unreadable(
            pipeline, json.dumps({"a": json.dumps({"Email": EMAIL})}).replace("@", "\\u0040")[:-1].encode()
        ),
        keep_unreadable(pipeline, b"x" + base64.b64encode(f"Email: {EMAIL}".encode())),
        keep_unreadable(pipeline, f"Email={EMAIL.replace('@', '%40')}&x".encode()),
    ]
    others = keep_unreadable(pipeline, b'{"Email": "bob@example.com"')
    waiting = pipeline.post(hers("X", OfferTitle="Contoso CRM"))
    pipeline.app.poison.put(base64.b64encode(waiting_text(pipeline, "P").encode()).decode())
    pipeline.app.poison.put(f"no message, but {EMAIL}")
    assert left(fresh_storage)

    report = erase(pipeline)

    assert left(fresh_storage) == []
    assert pipeline.record(delivered).state is State.DELIVERED
    for lead_id in (refused, unrouted, retried, waiting, *unreadable):
        record = pipeline.record(lead_id)
        assert (record.state, record.lead) == (State.ERASED, None)
        assert all(delivery.reason == ERASED_ON_REQUEST for delivery in record.deliveries.values())
    emptied = [fields["lead_id"] for fields in logged(caplog, "lead_emptied")]
    assert len(emptied) == len(set(emptied))
    assert {refused, unrouted, retried, waiting, *unreadable} <= set(emptied)
    assert not {delivered, large, others} & set(emptied)
    assert pipeline.record(others).state is State.UNREADABLE
    assert pipeline.app.ledger.body(others)
    keys = {trace.key.rpartition(" / ")[2] for trace in report.traces}
    assert {f"body;{large}", f"body;{unreadable[0]}", waiting} <= keys
    assert {trace.place for trace in report.traces} == {LEDGER_TABLE, "leads", "leads-poison"}
    calls = len(vendor.calls)
    vendor.works()
    for _ in range(3):
        pipeline.advance(600)
        pipeline.tick()
    assert len(vendor.calls) == calls, "nothing of them is sent any more"
    assert left(fresh_storage) == []
    assert EMAIL not in report.model_dump_json()


def keep_unreadable(pipeline: Pipeline, body: bytes) -> str:
    return pipeline.app.incoming.keep_unreadable(body, "it can't be read")


def waiting_text(pipeline: Pipeline, action: str) -> str:
    """A first message of the person that exists nowhere else."""
    lead = parse_body(json.dumps(hers(action)).encode())
    return encode(Message(new_lead_id(pipeline.clock.time, lead), received_at=pipeline.clock.time, lead=lead))


@pytest.mark.storage("azurite")
def test_what_stands_in_a_crm_is_listed_and_the_apps_own_table_is_emptied(
    pipeline: Pipeline,
    vendor: Vendor,
    fresh_storage: str,
    _unused_accounts: Iterator[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LEADS_SECRET_OTHER_ACCOUNT", next(_unused_accounts))
    monkeypatch.setenv("LEADS_SECRET_OWN_ACCOUNT", ";".join(sorted(filter(None, fresh_storage.split(";")))))
    elsewhere = TABLE | {
        "name": "far",
        "settings": {"table": "FarLeads", "connection_string": "env:LEADS_SECRET_OTHER_ACCOUNT"},
    }
    own = TABLE | {
        "name": "own",
        "settings": {"table": "OwnLeads", "connection_string": "env:LEADS_SECRET_OWN_ACCOUNT"},
    }
    pipeline.offer(crm(vendor.url), TABLE, elsewhere, own)
    lead = pipeline.post(hers())
    pipeline.run()
    day = lead[:8]
    told = erase(pipeline, dry_run=True)
    assert len(pipeline.app.storage.table("MarketplaceLeads").query("PartitionKey ge ''")) == 1
    done = erase(pipeline)
    for report in (told, done):
        assert [
            (one.destination, one.record_id, one.place, one.certain, one.removed) for one in report.handed_over
        ] == [
            ("crm", lead, "", True, False),
            ("far", lead, f"table FarLeads, PartitionKey {day}, RowKey {lead}", True, False),
            ("own", lead, f"table OwnLeads, PartitionKey {day}, RowKey {lead}", True, True),
            ("table", lead, f"table MarketplaceLeads, PartitionKey {day}, RowKey {lead}", True, True),
        ]
    assert left(fresh_storage) == []


def test_what_was_sent_before_a_destination_led_elsewhere_is_not_told_as_erased(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url), TABLE | {"settings": {"table": "OldLeads"}})
    lead = pipeline.post(hers())
    pipeline.run()
    pipeline.offer(TABLE | {"name": "crm"}, TABLE | {"settings": {"table": "NewLeads"}})
    for dry_run in (True, False):
        assert [
            (one.destination, one.type, one.record_id, one.place, one.removed)
            for one in erase(pipeline, dry_run=dry_run).handed_over
        ] == [("crm", "", lead, "", False), ("table", "", lead, "", False)]


def test_a_dry_run_changes_nothing_and_says_the_same(routed: Pipeline, fresh_storage: str) -> None:
    routed.post(hers())
    routed.post(hers("PLT", Description="the secret wish " * 5000))
    routed.run()
    keep_unreadable(routed, f'{{"Email": "{EMAIL}"'.encode())
    routed.post(hers("Create"))
    before = left(fresh_storage)
    told = erase(routed, dry_run=True)
    assert left(fresh_storage) == before
    assert routed.app.tombstones.get(customer_hash(f"email:{EMAIL}")) is None
    done = erase(routed)
    assert (told.traces, told.handed_over) == (done.traces, done.handed_over)


def test_another_persons_lead_that_mentions_the_address_is_left_to_a_person_and_sent_as_it_is(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    theirs = pipeline.post(a_lead("bob@example.org", Description=f"Please ask {EMAIL}, too\x07", Cc=EMAIL))
    large = pipeline.post(a_lead("bob@example.org", "PLT", Description=f"Ask {EMAIL} " + "x" * 60_000))
    pipeline.run()
    waiting = pipeline.post(a_lead("bob@example.org", "Create", Description=f"Ask {EMAIL}"))
    mentions = sorted((theirs, large, waiting))
    for _ in range(2):
        held = access(pipeline)
        assert (held.leads, sorted(held.mentions)) == ([], mentions)
        report = erase(pipeline)
        assert {trace.left for trace in report.traces} == {True}
        assert sorted(re.findall(r"mentions the address, (\S+):", str(report.traces))) == mentions
    pipeline.offer(crm(vendor.url))
    pipeline.tick(11)
    assert {call.key: call.lead["description"][:28] for call in vendor.calls} == {
        theirs: f"Please ask {EMAIL}, too"[:28],
        large: f"Ask {EMAIL} " + "x" * 8,
        waiting: f"Ask {EMAIL}",
    }


def test_an_older_message_that_surfaces_later_is_emptied_and_a_new_lead_is_not(
    routed: Pipeline, vendor: Vendor, fresh_storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    older, body = waiting_text(routed, "INS"), hers("PLT", Description="the secret wish " * 5000)
    large = routed.post(body)
    hidden = routed.messages()
    assert len(hidden) == 1
    poisoned = waiting_text(routed, "Create")
    erase(routed)
    routed.clock.time += timedelta(days=60)
    newer = routed.post(hers())
    deliver(routed.app, older)
    deliver(routed.app, text_of(hidden[0]))
    routed.app.poison.put(base64.b64encode(poisoned.encode()).decode())
    routed.drain_poison()
    routed.run()
    assert vendor.keys() == [newer]
    for text in (older, poisoned):
        assert routed.record(json.loads(text)["lead_id"]).state is State.ERASED
    assert routed.record(large).state is State.ERASED
    assert routed.app.ledger.body(large) is None
    emptied = [fields["lead_id"] for fields in logged(caplog, "lead_emptied")]
    assert emptied == [large, *(json.loads(text)["lead_id"] for text in (older, poisoned))], "its body led to the first"
    held = {one.lead.lead_id: one.said for one in access(routed).leads}
    assert [lead_id for lead_id, said in held.items() if said] == [newer]


def test_a_lead_that_is_handled_in_the_seconds_in_which_its_customer_is_erased_is_emptied_by_watch(
    routed: Pipeline, vendor: Vendor, fresh_storage: str
) -> None:
    older = waiting_text(routed, "INS")
    erase(routed)
    deliver(routed.app, older)
    assert len(vendor.calls) == 1
    routed.tick(20)
    assert left(fresh_storage) == []
    assert [one.lead_id for one in erase(routed).handed_over] == vendor.keys(), (
        "and a second run tells where it has gone"
    )


def test_a_customer_who_comes_again_in_those_seconds_stays_known(routed: Pipeline, vendor: Vendor) -> None:
    older = waiting_text(routed, "INS")
    erase(routed)
    deliver(routed.app, older)
    routed.clock.time += timedelta(seconds=10)
    newer = routed.post(hers("PLT"))
    routed.run()
    assert vendor.keys()[-1] == newer
    routed.tick(20)
    (customer,) = routed.app.ledger.customers(customer_hash(f"email:{EMAIL}"))
    assert newer in {seen.lead_id for seen in customer.recent}


def test_looking_after_an_erasure_does_not_undo_a_newer_one(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    routed.clock.time -= timedelta(minutes=11)
    monkeypatch.setattr(routed.app.tombstones, "storage_time", lambda: routed.clock.now() + timedelta(seconds=1))
    erase(routed)
    routed.clock.time += timedelta(minutes=11)
    in_hand = waiting_text(routed, "PLT")
    routed.clock.time += timedelta(seconds=2)
    empty_late = erasure._empty_late

    def while_erased_again(*arguments: Any) -> None:
        erase(routed)
        empty_late(*arguments)

    monkeypatch.setattr(erasure, "_empty_late", while_erased_again)
    app = routed.app
    stores = PersonalDataStores(app.ledger, app.tombstones, app.lead_queues, app.offers, app.destination)
    erasure.finish_erasures(stores, routed.clock.now())
    newer = routed.app.tombstones.get(customer_hash(f"email:{EMAIL}"))
    assert newer is not None
    assert (newer.at > routed.clock.now(), newer.settled) == (True, False)
    routed.clock.time += timedelta(minutes=2)
    deliver(routed.app, in_hand)
    assert vendor.calls == []


def test_of_two_erasures_at_once_the_later_one_counts(routed: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    tombstones, now = routed.app.tombstones, routed.clock.now()
    read = tombstones.get

    def overtaken(customer: str) -> Tombstone | None:
        found = read(customer)
        monkeypatch.setattr(tombstones, "get", read)
        tombstones.put(customer, now)
        return found

    for customer, known in (("a" * 32, None), ("b" * 32, now - timedelta(days=1))):
        if known:
            tombstones.put(customer, known)
        monkeypatch.setattr(tombstones, "get", overtaken)
        tombstones.put(customer, now - timedelta(seconds=5))
        stone = tombstones.get(customer)
        assert stone is not None
        assert stone.at == now


def test_what_was_corrected_goes_with_its_correction(pipeline: Pipeline, vendor: Vendor, fresh_storage: str) -> None:
    vendor.answer = lambda call: REJECTED
    pipeline.offer(crm(vendor.url))
    mistyped = pipeline.post(a_lead("ada@exmaple.com"))
    pipeline.run()
    unreadable = keep_unreadable(pipeline, b'{"Email": "ada@exmaple.com"')
    vendor.works()
    for lead_id in (mistyped, unreadable):
        fixed = parse_body(json.dumps(a_lead(EMAIL)).encode())
        replay.correct(pipeline.app.incoming, pipeline.app.ledger, pipeline.record(lead_id), fixed)
        pipeline.run()
    erase(pipeline)
    assert leftovers(fresh_storage, [EMAIL, "ada@exmaple.com", "O'Neil"]) == []
    assert len(erase(pipeline).traces) == 4, "a second run tells of all of them"


def test_who_is_erased_does_not_come_back_by_an_import(pipeline: Pipeline, vendor: Vendor, fresh_storage: str) -> None:
    pipeline.offer(crm(vendor.url))
    erase(pipeline)
    row = importing.Row(1, hers(OfferTitle="Contoso CRM", CreatedTime="2026-01-31 14:00:00"))
    reading = importing.Reading({})
    judged = importing.compare(pipeline.app.ledger, pipeline.app.offers, [row], reading)
    importing.take_in(pipeline.app.incoming, judged, Imported.SEND)
    pipeline.run()
    assert vendor.calls == []
    assert left(fresh_storage) == []
    (again,) = importing.compare(pipeline.app.ledger, pipeline.app.offers, [row], reading)
    assert (again.verdict, again.state) == (importing.Verdict.KNOWN, State.ERASED)


def test_an_erased_lead_is_not_announced_any_more(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[Any] = []

    def post(*arguments: Any) -> str:
        posted.append(arguments)
        return ""

    monkeypatch.setattr("leads.watch.notifications.post", post)
    pipeline.offer(crm(vendor.url), announce={"webhook": "env:LEADS_SECRET_CHAT", "with_person": True})
    pipeline.post(hers())
    pipeline.run()
    erase(pipeline)
    pipeline.watch()
    assert posted == []
    assert pipeline.app.notices.depth() == 0


@pytest.mark.parametrize(
    ("change", "problem"), [("empty", LedgerBusy("lead")), ("forget_customer", Conflict(0, missing=False))]
)
def test_rows_that_change_all_the_time_are_a_reason_to_ask_again(
    routed: Pipeline, monkeypatch: pytest.MonkeyPatch, change: str, problem: Exception
) -> None:
    routed.post(hers())
    routed.run()

    def busy(*_: Any) -> None:
        raise problem

    monkeypatch.setattr(routed.app.ledger, change, busy)
    with pytest.raises(Unavailable, match="Ask again"):
        erase(routed)


@pytest.mark.parametrize("answer", [{"outcome": "delivered"}, RETRY, REJECTED], ids=["delivered", "retry", "rejected"])
@pytest.mark.parametrize("earlier", [False, True], ids=["first lead", "later lead"])
def test_a_lead_that_is_being_sent_at_that_moment_writes_nothing_back(
    routed: Pipeline, second: Pipeline, vendor: Vendor, fresh_storage: str, answer: dict[str, Any], *, earlier: bool
) -> None:
    if earlier:
        routed.post(hers())
        routed.run()

    def erased_meanwhile(call: Call) -> dict[str, Any]:
        erase(second)
        return answer

    vendor.answer = erased_meanwhile
    lead = routed.post(hers("PLT"))
    routed.run()
    assert left(fresh_storage) == []
    record = routed.record(lead)
    assert record.lead is None
    assert record.deliveries["crm"].state is (State.DELIVERED if answer["outcome"] == "delivered" else State.ERASED)
    calls = len(vendor.calls)
    vendor.works()
    routed.tick(20)
    assert len(vendor.calls) == calls
    assert left(fresh_storage) == []
    listed = [one for one in erase(routed).handed_over if one.lead_id == lead]
    assert [one.certain for one in listed] == [answer["outcome"] == "delivered"], (
        "where it went is told by a second run"
    )


def test_what_a_worker_had_in_hand_and_wrote_later_is_emptied_by_watch(
    pipeline: Pipeline, second: Pipeline, fresh_storage: str
) -> None:
    second.app.tombstones.cover("", second.clock.time)  # this instance has just read the tombstones
    older = waiting_text(second, "INS")
    erase(pipeline)
    large = second.post(hers("PLT", Description="the secret wish " * 5000))
    second.clock.time += timedelta(seconds=6)
    deliver(second.app, older)
    second.run()
    assert left(fresh_storage), "it did not know"
    pipeline.tick(20)
    assert left(fresh_storage) == []
    for lead_id in (json.loads(older)["lead_id"], large):
        assert pipeline.record(lead_id).state is State.ERASED


def prepared(storage: str, monkeypatch: pytest.MonkeyPatch, clock: TestClock, vendor: Vendor) -> str:
    """Fill an account with every kind of personal data. Returns the id of another person's lead that mentions the address."""
    pipeline = Pipeline(storage, monkeypatch, clock)
    pipeline.offer(crm(vendor.url), TABLE)
    pipeline.post(hers())
    pipeline.run()
    pipeline.post(hers(OfferTitle="Nobody's"))
    mention = pipeline.post(a_lead("bob@example.org", OfferTitle="Nobody's", Description=f"ask {EMAIL}"))
    pipeline.run()
    keep_unreadable(pipeline, f'{{"Email": "{EMAIL}"'.encode())
    pipeline.post(hers("PLT"))
    return mention


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # what the dead process leaves unfinished
def test_killed_after_any_change_and_run_again_it_ends_the_same(
    monkeypatch: pytest.MonkeyPatch, vendor: Vendor
) -> None:
    clock, ends = TestClock(datetime.now(UTC)), set()
    for number in count(1):
        with memory_account() as storage:
            account, clock.time = account_at(storage), datetime.now(UTC)
            mention = prepared(storage, monkeypatch, clock, vendor)
            died = dies_after(number, partial(erase, Pipeline(storage, monkeypatch, clock)))
            again = Pipeline(storage, monkeypatch, clock)
            report = erase(again)
            clock.time += timedelta(minutes=1)
            assert isinstance(account, MemoryAccount)
            account.now = clock.now  # the message of a dead worker comes back
            again.run()
            assert again.queue.depth() == 0
            places = {where.split()[1] for where in left(storage)}
            assert places == {lead_key(mention)[1]}, f"killed after change {number}"
            ends.add((tuple(sorted(again.states().elements())), len(report.handed_over)))
        if not died:
            break
    assert number > 10
    assert ends == {(("delivered", "erased", "erased", "erased", "unrouted"), 2)}


def test_no_erasure_goes_on_where_a_dry_run_has_ended(routed: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leads.operations.people.STEP_SECONDS", 0)
    first = {dry: routed.ask(erase_customer, asked(dry_run=dry)).next or "" for dry in (True, False)}
    for dry, after in first.items():
        routed.ask(erase_customer, asked(dry_run=dry, after=after))
        with pytest.raises(Invalid, match=r"^after: mixes a dry run with an erasure"):
            routed.ask(erase_customer, asked(dry_run=not dry, after=after))


def asked(*, dry_run: bool, after: str = "") -> Erasure:
    return Erasure(email=EMAIL, dry_run=dry_run, after=after)


def test_access_tells_all_that_is_held_and_after_an_erasure_what_is_left(
    routed: Pipeline, vendor: Vendor, fresh_storage: str
) -> None:
    lead = routed.post(hers())
    routed.run()
    large = routed.post(hers("PLT", Description="the secret wish " * 5000))
    routed.run()
    unreadable = keep_unreadable(routed, f'{{"Email": "{EMAIL}"'.encode())
    waiting = routed.post(hers("Create"))
    held = access(routed, " ADA@example.com")
    by_id = {one.lead.lead_id: one for one in held.leads}
    assert by_id.keys() == {lead, large, unreadable}
    assert by_id[lead].said["company"] == "Example & Works"
    assert base64.b64decode(by_id[lead].said["original"]) == json.dumps(hers()).encode()
    assert by_id[large].said["description"].startswith("the secret wish the secret wish")
    assert by_id[unreadable].body == f'{{"Email": "{EMAIL}"'
    assert [one.record_id for one in by_id[lead].handed_over] == [lead]
    assert [message.lead_id for message in held.messages] == [waiting]
    assert [one.last_leads for one in held.customers] == [[lead, large]]
    erase(routed)
    after = access(routed)
    assert after.erased_at
    assert abs(after.erased_at - routed.clock.time) < timedelta(minutes=2)
    assert (after.customers, after.messages, after.mentions) == ([], [], [])
    assert {one.lead.lead_id for one in after.leads} == {lead, large, unreadable, waiting}
    for value in VALUES[1:]:
        assert value not in after.model_dump_json()


def test_what_is_no_address_or_no_place_is_refused_without_being_repeated(pipeline: Pipeline) -> None:
    for wrong in ("ada", "@", " @@ ", "a\n@b"):
        with pytest.raises(ValueError, match="must be an e-mail address") as refused:
            Erasure(email=wrong + " " * (3 - len(wrong)), after="")
        assert wrong not in str(refused.value) or wrong in {"@", "ada"}
    for after in ("x", "2026-01-01", "2026-01-01T00:00:00+00:00|x:y", "2026-01-01T00:00:00+00:00|0:lead;' or 'a"):
        with pytest.raises(Invalid, match=r"^after: "):
            pipeline.ask(erase_customer, Erasure(email=EMAIL, after=after))
