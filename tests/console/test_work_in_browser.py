"""What people do in the console beside looking: connect a CRM, deal with a lead, bring a list in, answer a customer's request."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from leads import console
from leads.core.states import State
from leads.offers.model import read_offer
from leads.operations.table import OPERATIONS
from leads.pipeline.dismissal import dismiss
from tests.console.conftest import NUMBERS, OFFER, SCRIPT, Visit
from tests.e2e.conftest import app_on
from tests.support.pipeline import a_lead, crm
from tests.support.running_app import RunningApp
from tests.support.vendor import REJECTED, Vendor

COLUMNS = "Creation Date,First Name,Last Name,Email,Company,Lead Source,Action\n"


@pytest.fixture
def storage(shared_storage: str, app: RunningApp) -> Any:
    """The running app's own storage, as the test looks at it."""
    return app_on(shared_storage)


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def unreadable(app: RunningApp) -> str:
    """The id of a body that can't be read."""
    answer = app.post(b"{not JSON %d" % next(NUMBERS))
    assert answer.status == 400
    lead_id: str = answer.json()["lead_id"]
    return lead_id


# --- Offers ---


def test_a_destination_is_connected_by_a_form_and_its_test_lead_arrives(visit: Visit, storage: Any) -> None:
    offer_id = f"contoso.offer{next(NUMBERS)}"
    visit.enter("#/offers")
    page = visit.page
    button(page, "Connect a destination").click()
    page.get_by_label("Offer ID").fill(offer_id)
    page.get_by_label("Name", exact=True).fill("table")
    page.get_by_label("Table (optional)").fill("ConsoleLeads")
    button(page, "Check it").click()
    expect(page.get_by_text("It works.")).to_be_visible()
    button(page, "Show the requests").click()
    expect(page.get_by_role("heading", name="What a customer's first lead would send")).to_be_visible()
    visit.accessible()
    button(page, "What changes?").click()
    expect(page.get_by_text("destinations.table.settings.table")).to_be_visible()
    assert offer_id not in [stored.offer.id for stored in storage.offers.stored()]
    button(page, "Save").click()
    visit.heading(offer_id)
    expect(page.get_by_text(f"/api/leads/{offer_id}?code=")).to_be_visible()
    button(page, "Send a test lead").click()
    expect(page.get_by_text("It has arrived.")).to_be_visible()
    visit.accessible()


def test_an_offer_that_somebody_else_changed_is_not_overwritten(visit: Visit, storage: Any, crm_of_app: Vendor) -> None:
    offer_id = f"contoso.offer{next(NUMBERS)}"
    storage.offers.save(read_offer({"id": offer_id, "destinations": [crm(crm_of_app.url)]}))
    visit.enter(f"#/offers/{offer_id}")
    page = visit.page
    page.get_by_role("link", name="Connect another destination").click()
    page.get_by_label("Name", exact=True).fill("table")
    button(page, "What changes?").click()
    expect(button(page, "Save")).to_be_visible()
    storage.offers.save(read_offer({"id": offer_id, "titles": ["Other"], "destinations": [crm(crm_of_app.url)]}))
    button(page, "Save").click()
    expect(page.get_by_role("status").filter(has_text="Somebody else changed this since you opened it")).to_be_visible()
    (stored,) = [each for each in storage.offers.stored() if each.offer.id == offer_id]
    assert [each.name for each in stored.offer.destinations] == ["crm"]


def test_problems_of_a_destination_are_shown_before_it_is_saved(visit: Visit) -> None:
    visit.enter("#/offers?connect=new")
    page = visit.page
    page.get_by_label("Offer ID").fill("contoso.wrong")
    page.get_by_label("Type").select_option("hubspot")
    page.get_by_label("Name", exact=True).fill("crm")
    page.get_by_label("Service key").fill("pat-na1-a-secret")
    button(page, "Check it").click()
    expect(page.get_by_role("alert")).to_contain_text("service_key")
    page.get_by_label("Mapping (optional)").fill("{no JSON")
    button(page, "Check it").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not JSON")


# --- A lead ---


def test_an_unreadable_lead_is_corrected_and_sent(
    visit: Visit, app: RunningApp, storage: Any, crm_of_app: Vendor
) -> None:
    crm_of_app.works()
    lead = unreadable(app)
    visit.enter(f"#/leads/{lead}")
    page = visit.page
    button(page, "Correct…").click()
    body = page.get_by_label("The lead", exact=True)
    button(page, "Send it corrected").click()
    expect(page.get_by_role("alert")).to_be_visible()
    body.fill('{"UserDetails": {"Email": "fixed@example.com"}, "OfferTitle": "Contoso CRM", "ActionCode": "INS"}')
    button(page, "Send it corrected").click()
    link = page.get_by_role("status").get_by_role("link")
    expect(link).to_be_visible()
    app.wait_for(link.inner_text(), "delivered")
    assert storage.ledger.read(lead).state is State.SKIPPED


def test_a_lead_is_dismissed_with_a_note_and_that_is_taken_back(visit: Visit, app: RunningApp, storage: Any) -> None:
    lead = unreadable(app)
    visit.enter(f"#/leads/{lead}")
    page = visit.page
    button(page, "Dismiss…").click()
    button(page, "Dismiss").click()
    expect(page.get_by_label("Why")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Why").fill(f"spam {SCRIPT}")
    visit.accessible()
    button(page, "Dismiss").click()
    expect(page.get_by_text(f"spam {SCRIPT}")).to_be_visible()
    assert storage.ledger.read(lead).state is State.SKIPPED
    button(page, "Take the dismissal back").click()
    expect(page.get_by_text("The lead waits for a person again.")).to_be_visible()
    assert storage.ledger.read(lead).state is State.UNREADABLE
    dismiss(storage.ledger, storage.ledger.read(lead), "so that no other test meets it")


def test_many_leads_are_dismissed_by_their_cause(
    visit: Visit, app: RunningApp, storage: Any, crm_of_app: Vendor
) -> None:
    crm_of_app.answer = lambda _: REJECTED
    refused = [app.post(a_lead(f"refused{next(NUMBERS)}@example.com")).json()["lead_id"] for _ in range(2)]
    for lead in refused:
        app.wait_for(lead, "dead_letter")
    crm_of_app.works()
    visit.enter(f"#/leads?state=dead_letter&offer={OFFER}")
    page = visit.page
    button(page, "Dismiss by cause…").click()
    page.get_by_label("Code of the last attempt").fill("no such code")
    page.get_by_label("Why").fill("refused for good")
    button(page, "How many?").click()
    expect(page.get_by_text("No lead would be dismissed.")).to_be_visible()
    page.get_by_label("Code of the last attempt").fill("")
    button(page, "How many?").click()
    expect(page.get_by_text(re.compile(r"\d+ leads? would be dismissed\."))).to_be_visible()
    visit.accessible()
    button(page, "Dismiss").click()
    expect(page.get_by_text(re.compile(r"\d+ leads? (is|are) dismissed\."))).to_be_visible()
    assert [storage.ledger.read(lead).state for lead in refused] == [State.SKIPPED] * 2


# --- Lists ---


def test_a_list_says_what_never_arrived_and_is_imported(
    visit: Visit, app: RunningApp, storage: Any, crm_of_app: Vendor, tmp_path: Path
) -> None:
    crm_of_app.works()
    number = next(NUMBERS)
    rows = [
        f'2026-01-3{n}T10:00:00Z,Ada,"O""Neil, jr",list{number}{n}@example.com,Example,AzureMarketplace,INS'
        for n in (0, 1)
    ]
    file = tmp_path / "list.csv"
    file.write_text(COLUMNS + "\n".join(rows))
    visit.enter("#/lists")
    page = visit.page
    page.get_by_label("A list as CSV:").set_input_files(file)
    expect(page.get_by_text("2 rows, 7 columns.")).to_be_visible()
    page.get_by_label("Offer", exact=True).select_option(OFFER)
    button(page, "What never arrived?").click()
    expect(page.get_by_text("2 never arrived")).to_be_visible()
    expect(page.get_by_role("cell", name=f'O"Neil, jr, list{number}', exact=False).first).to_be_visible()
    visit.accessible()
    before = len(crm_of_app.records)
    button(page, "What would an import do?").click()
    expect(page.get_by_text("2 would be imported")).to_be_visible()
    assert len(crm_of_app.records) == before
    button(page, "Import 2 leads").click()
    expect(page.get_by_text("2 imported")).to_be_visible()
    for _ in range(600):  # an import goes by the queue
        if len(crm_of_app.records) >= before + 2:
            break
        page.wait_for_timeout(200)
    button(page, "What never arrived?").click()
    expect(page.get_by_text("Every row has arrived.")).to_be_visible()


def test_dates_in_two_orders_are_not_guessed(visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(COLUMNS + "31/01/2026,A,B,a@example.com,,,INS\n01/31/2026,A,B,b@example.com,,,INS\n")
    visit.enter("#/lists")
    page = visit.page
    page.get_by_label("A list as CSV:").set_input_files(file)
    expect(page.get_by_text("Some rows have dates with the day first, others with the month first.")).to_be_visible()
    expect(button(page, "What never arrived?")).to_be_disabled()
    page.get_by_label("Dates").select_option("dmy")
    expect(button(page, "What never arrived?")).to_be_enabled()


@pytest.mark.parametrize("content", [b"PK\x03\x04 a spreadsheet", b"one line alone"])
def test_a_file_that_is_not_a_list_is_reported(visit: Visit, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(content)
    visit.enter("#/lists")
    visit.page.get_by_label("A list as CSV:").set_input_files(file)
    expect(visit.page.get_by_role("alert")).to_contain_text("This file is not a CSV file")


# --- Privacy ---


def test_what_is_held_of_a_customer_is_shown_and_erased(
    visit: Visit, app: RunningApp, storage: Any, crm_of_app: Vendor
) -> None:
    crm_of_app.works()
    email = f"person{next(NUMBERS)}+x@example.com"
    lead: str = app.post(a_lead(email)).json()["lead_id"]
    app.wait_for(lead, "delivered")
    visit.enter("#/privacy")
    page = visit.page
    page.get_by_label("E-mail address").fill(email)
    button(page, "Show stored data").click()
    expect(page.get_by_role("heading", name=f"Data about {email}")).to_be_visible()
    visit.accessible()
    button(page, "Erase…").click()
    expect(page.get_by_text("You can't undo this.")).to_be_visible()
    button(page, "Cancel").click()
    assert storage.ledger.read(lead).lead is not None
    button(page, "Erase…").click()
    button(page, "Erase").click()
    expect(page.get_by_text("Still in CRMs: remove these records there")).to_be_visible()
    assert storage.ledger.read(lead).lead is None
    button(page, "Show stored data").click()
    expect(page.get_by_text(f"The app holds nothing about {email}.")).to_be_visible()


def test_a_search_goes_on_until_the_app_has_looked_through_everything(visit: Visit, app: RunningApp) -> None:
    email = f"person{next(NUMBERS)}@example.com"
    app.wait_for(app.post(a_lead(email)).json()["lead_id"], "delivered")
    asked: list[str] = []

    def in_two_parts(route: Route) -> None:
        asked.append(json.loads(route.request.post_data or "{}")["after"])
        part = route.fetch(post_data={"email": email}).json()
        if len(asked) == 1:
            part |= {"leads": [], "customers": [], "next": "the second part"}
        route.fulfill(json=part)

    visit.enter("#/privacy")
    visit.page.route("**/api/manage/access", in_two_parts)
    visit.page.get_by_label("E-mail address").fill(email)
    button(visit.page, "Show stored data").click()
    expect(button(visit.page, "Erase…")).to_be_visible()
    assert asked == ["", "the second part"]


def test_without_the_level_personal_the_page_names_the_needed_key(visit: Visit, app: RunningApp) -> None:
    visit.open("#/privacy")
    visit.sign_in(app.host.function_keys["operate"], of="operate")
    visit.heading("Privacy")
    expect(visit.page.get_by_text("Your sign-in shows no personal data.")).to_be_visible()


# --- History ---


def test_who_has_changed_something_or_seen_personal_data_is_listed(visit: Visit, app: RunningApp) -> None:
    lead = unreadable(app)
    visit.enter(f"#/leads/{lead}")
    page = visit.page
    button(page, "Show what the customer said").click()
    expect(page.get_by_text("Body as received")).to_be_visible()
    visit.go_to("History")
    entry = page.get_by_role("row").filter(has_text=lead)
    expect(entry).to_contain_text("viewed a lead's personal data")
    expect(entry).to_contain_text("personal data")
    expect(entry).to_contain_text("a key")
    visit.accessible()


def test_every_operation_that_is_noted_has_words() -> None:
    text = (Path(console.__file__).parent / "static" / "texts.js").read_text()
    noted = {operation.name for operation in OPERATIONS if operation.changes or operation.personal}
    assert noted == {name for name in noted if f"      {name}: " in text}


# --- All of them ---


def test_each_page_of_work_is_accessible_and_fits(visit: Visit) -> None:
    visit.enter()
    for address, name in (
        ("#/offers?connect=new", "Offers"),
        (f"#/offers/{OFFER}", OFFER),
        ("#/lists", "Lists"),
        ("#/privacy", "Privacy"),
        ("#/history", "History"),
    ):
        visit.open(address)
        visit.heading(name)
        expect(visit.page.get_by_text("Loading…")).to_have_count(0)
        visit.accessible_and_fits()
