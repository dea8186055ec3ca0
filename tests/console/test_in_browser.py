"""The console in a real browser over the running app, used as people use it: by labels, roles and the keyboard."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from leads.operations.status import latency
from tests.console.conftest import FROM_RIGHT_TO_LEFT, OFFER, SCRIPT, Visit, put_delivered_leads
from tests.support.pipeline import a_lead
from tests.support.running_app import RunningApp
from tests.support.vendor import REJECTED, Vendor

DESTINATION = f"{OFFER} crm"


def made_up_report(days: int) -> dict[str, Any]:
    """The report of an app with a long history."""
    listed = [date(2026, 10, 1) + timedelta(days=number) for number in range(days)]
    counts = [
        {"offer": OFFER, "source": "SPZA", "stage": "trial", "country": "DE", "first": 3, "repeats": 1},
        {"offer": "-", "source": "", "stage": "unknown", "country": "", "first": 2, "repeats": 0},
    ]
    return {
        "from": listed[0].isoformat(),
        "to": listed[-1].isoformat(),
        "days": [{"day": day.isoformat(), "counts": counts} for day in listed],
        "time_to_crm": [{"offer": OFFER, "destination": "crm", "leads": 5, "median_seconds": 0.4, "p95_seconds": 90.0}],
        "reached": [{"stage": "trial", "first": 3 * days}],
    }


@pytest.fixture
def numbers(context: BrowserContext) -> None:
    """The app answers a report with leads on each day."""

    def answer(route: Route) -> None:
        found = re.search(r"days=(\d+)", route.request.url)
        assert found
        route.fulfill(json=made_up_report(int(found[1])))

    context.route("**/api/*/report?*", answer)


def row(page: Page, name: str) -> Any:
    return page.get_by_role("row").filter(has_text=name)


# --- Signing in ---


def test_a_wrong_key_opens_nothing_and_the_right_one_does(visit: Visit) -> None:
    visit.open()
    visit.sign_in("wrong-key")
    expect(visit.page.get_by_role("alert")).to_contain_text("This key does not belong to that function")
    visit.accessible()
    visit.sign_in()
    visit.heading("Overview")


def test_a_key_is_forgotten_unless_it_is_to_be_kept(visit: Visit) -> None:
    visit.enter()
    visit.page.reload()
    visit.heading("Sign in")
    visit.sign_in(keep=True)
    visit.heading("Overview")
    visit.page.reload()
    visit.heading("Overview")
    visit.page.get_by_role("button", name="Sign out").click()
    visit.page.reload()
    visit.heading("Sign in")


def test_each_key_opens_the_pages_of_its_level(visit: Visit, app: RunningApp, lead: str, numbers: None) -> None:
    visit.open()
    visit.sign_in(app.host.function_keys["report"], of="report")
    visit.heading("Overview")
    expect(visit.page.get_by_role("link", name="Leads")).to_have_count(0)
    expect(visit.page.get_by_text("reports only")).to_be_visible()
    visit.page.get_by_role("button", name="Sign out").click()
    visit.sign_in(app.host.function_keys["operate"], of="operate")
    visit.open(f"#/leads/{lead}")
    expect(visit.page.get_by_role("button", name="Send again…")).to_be_visible()
    expect(visit.page.get_by_role("button", name="Show what the customer said")).to_have_count(0)


def test_an_address_that_changes_while_the_page_is_being_drawn_is_followed(visit: Visit) -> None:
    """The address may change between the first drawing and the listener."""
    visit.page.add_init_script("""
        const listen = window.addEventListener;
        window.addEventListener = (name, ...rest) => {
          const drawn = document.querySelector("h1")?.textContent;
          if (name === "hashchange" && drawn === "Overview") history.replaceState(null, "", "#/connections");
          return listen(name, ...rest);
        };
    """)
    visit.enter()
    visit.heading("Connections")


def test_whose_key_no_longer_works_signs_in_again_and_is_where_they_were(
    visit: Visit, context: BrowserContext, lead: str
) -> None:
    visit.enter("#/leads?state=delivered")
    visit.heading("Leads")
    context.route("**/api/manage/leads?*", lambda route: route.fulfill(status=401))
    visit.page.get_by_role("button", name="Refresh").click()
    visit.heading("Sign in")
    expect(visit.page.get_by_role("status").first).to_contain_text("the key no longer opens this app")
    context.unroute("**/api/manage/leads?*")
    visit.sign_in()
    visit.heading("Leads")
    expect(visit.page.get_by_label("State")).to_have_value("delivered")


def test_who_signs_in_with_the_platform_needs_no_key(visit: Visit, context: BrowserContext, numbers: None) -> None:
    context.route(
        "**/api/signed-in/whoami", lambda route: route.fulfill(json={"level": None, "login": "/.auth/login/aad"})
    )
    visit.open()
    link = visit.page.get_by_role("link", name="Sign in with Microsoft")
    expect(link).to_have_attribute("href", "/.auth/login/aad?post_login_redirect_uri=%2Fapi%2Fconsole")
    context.unroute("**/api/signed-in/whoami")
    context.route(
        "**/api/signed-in/whoami", lambda route: route.fulfill(json={"level": "report", "personal_data": False})
    )
    visit.page.reload()
    visit.heading("Overview")
    expect(visit.page.get_by_role("img", name="Bar chart: 150 leads")).to_be_visible()
    assert all("x-functions-key" not in request.headers for request in visit.asked)


def test_who_has_signed_in_with_the_platform_is_signed_out_by_it(
    visit: Visit, context: BrowserContext, numbers: None
) -> None:
    context.route(
        "**/api/signed-in/whoami", lambda route: route.fulfill(json={"level": "report", "personal_data": False})
    )
    context.route("**/.auth/logout?*", lambda route: route.fulfill(body="signed out", content_type="text/plain"))
    visit.open()
    visit.heading("Overview")
    visit.page.get_by_role("button", name="Sign out").click()
    visit.page.wait_for_url("**/.auth/logout?post_logout_redirect_uri=%2Fapi%2Fconsole")


# --- Overview ---


def test_the_report_of_the_running_app_is_understood(visit: Visit, lead: str) -> None:
    visit.enter("#/overview?days=7")
    expect(visit.page.get_by_role("heading", name="How far customers came")).to_be_visible()
    expect(visit.page.get_by_role("table", name="How far customers came").get_by_role("row")).to_have_count(5)


def test_the_overview_shows_the_numbers_and_behind_each_chart_a_table(visit: Visit, numbers: None) -> None:
    visit.enter()
    page = visit.page
    expect(page.get_by_role("img", name="Bar chart: 150 leads in 30 days")).to_be_visible()
    page.get_by_role("link", name="7 days").click()
    expect(page.get_by_role("img", name="Bar chart: 35 leads in 7 days")).to_be_visible()
    page.get_by_label("Stacked by").select_option("Source")
    page.get_by_text("The numbers").first.click()
    table = page.get_by_role("table", name="leads-a-day")
    expect(table.get_by_role("columnheader")).to_have_text(["Day", "AppSource", "unknown", "Total", "Came again"])
    expect(table.get_by_role("row").nth(1)).to_have_text(re.compile("2026-10-01.*3.*2.*5.*1"))
    assert page.url.endswith("#/overview?days=7&by=source")
    crm = page.get_by_role("table", name="Time from arrival to CRM").get_by_role("row").nth(1)
    expect(crm).to_contain_text("400 ms")
    expect(crm).to_contain_text("90 s")


def test_the_numbers_are_exported(visit: Visit, numbers: None) -> None:
    visit.enter("#/overview?days=7&by=stage")
    visit.page.get_by_text("The numbers").first.click()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Export as CSV").first.click()
    assert download.value.suggested_filename == "leads-a-day.csv"
    lines = download.value.path().read_text("utf-8-sig").splitlines()
    assert lines[:2] == ["Day,trial,unknown,Total,Came again", "2026-10-01,3,2,5,1"]
    assert len(lines) == 8


def test_a_broken_connection_is_named_with_its_cause_and_the_next_step(
    visit: Visit, app: RunningApp, crm_of_app: Vendor, numbers: None
) -> None:
    crm_of_app.refuses()
    waiting = app.post(a_lead("waits@example.com")).json()["lead_id"]
    app.wait_for(waiting, "parked")
    visit.enter()
    needs = visit.page.get_by_role("region", name="What needs you")
    expect(needs).to_contain_text("The connection is paused")
    expect(needs).to_contain_text("the secret has expired: make a new one")
    expect(needs).to_contain_text("Fix the cause at the vendor")
    visit.accessible()
    needs.get_by_role("link", name="Show the connection").click()
    visit.heading("Connections")
    expect(row(visit.page, "127.0.0.1")).to_contain_text("paused")
    visit.page.get_by_role("button", name=f"Check now: {DESTINATION}").click()
    expect(row(visit.page, "127.0.0.1").get_by_role("status")).to_contain_text("the secret has expired: make a new one")
    crm_of_app.works()
    visit.page.get_by_role("button", name=f"Resume: {DESTINATION}").click()
    expect(row(visit.page, "127.0.0.1").get_by_role("status")).to_contain_text("Resumed")
    app.wait_for(waiting, "delivered")


def test_a_secret_that_expires_and_an_offer_that_is_silent_are_named_with_the_next_step(
    visit: Visit, context: BrowserContext, lead: str, numbers: None
) -> None:
    use = {"offer": OFFER, "destination": "crm"}
    secret = use | {"setting": "client_secret", "reference": "keyvault:crm", "within": 7, "days": 5}
    since = "2026-11-01T00:00:00Z"
    alarms = [
        {"event": "secret_expiring", "since": since, "fields": secret, "says": "A secret expires in 5 days."},
        {"event": "offer_silent", "since": since, "fields": {"offer": OFFER, "hours": 60, "expected": 9}, "says": ""},
    ]
    context.route(
        "**/api/manage/status",
        lambda route: route.fulfill(json=route.fetch().json() | {"alarms": alarms}),
    )
    visit.enter()
    page = visit.page
    expect(page.get_by_role("region", name="What needs you")).to_contain_text("A secret expires in 5 days.")
    expect(page.locator("section", has=page.get_by_role("heading", name="Silent offers"))).to_contain_text(OFFER)
    visit.accessible()
    visit.go_to("Connections")
    expect(row(page, "127.0.0.1")).to_contain_text("client_secret expires in 5 days")
    expect(row(page, "127.0.0.1")).to_contain_text("Store a new secret at keyvault:crm.")
    visit.accessible()


def test_the_overview_shows_the_latency_of_the_deployment(visit: Visit, context: BrowserContext, numbers: None) -> None:
    told = {"latency": latency({"intake"})}
    context.route("**/api/manage/status", lambda route: route.fulfill(json=route.fetch().json() | told))
    visit.enter()
    section = visit.page.get_by_role("region", name="Time from arrival to CRM")
    expect(section).to_contain_text(
        "after a pause a lead is answered at once and delivered once Azure has noticed its message"
    )
    visit.accessible()


# --- Connections ---


def test_a_person_pauses_a_connection_with_a_note_and_resumes_it(visit: Visit, crm_of_app: Vendor, lead: str) -> None:
    visit.enter("#/connections")
    page = visit.page
    page.get_by_role("button", name=f"Pause: {DESTINATION}").click()
    asked = page.get_by_role("dialog", name=f"Pause {DESTINATION}?")
    visit.accessible()
    page.keyboard.press("Escape")
    expect(asked).to_have_count(0)
    page.get_by_role("button", name=f"Pause: {DESTINATION}").click()
    asked.get_by_role("button", name="Pause").click()
    expect(asked.get_by_label("Why, and until when")).to_have_attribute("aria-invalid", "true")
    asked.get_by_label("Why, and until when").fill("maintenance until noon")
    page.keyboard.press("Enter")
    expect(row(page, "127.0.0.1")).to_contain_text("paused by a person")
    expect(row(page, "127.0.0.1")).to_contain_text("maintenance until noon")
    visit.accessible()
    page.get_by_role("button", name=f"Resume: {DESTINATION}").click()
    expect(row(page, "127.0.0.1")).to_contain_text("working")


def test_a_connection_that_no_offer_uses_claims_no_address(visit: Visit, context: BrowserContext, lead: str) -> None:
    def unused(route: Route) -> None:
        status = route.fetch().json()
        for connection in status["connections"]:
            connection.update(used_by=[], host="")
        route.fulfill(json=status)

    context.route("**/api/manage/status", unused)
    visit.enter("#/connections")
    panel = visit.page.get_by_role("region", name="No longer used by an offer")
    expect(panel).to_contain_text("not used")
    expect(panel).not_to_contain_text("address")


def test_a_change_by_somebody_else_is_reported(visit: Visit, context: BrowserContext, lead: str) -> None:
    context.route("**/api/manage/offers/*/validate?*", lambda route: route.fulfill(status=412, json={}))
    visit.enter("#/connections")
    visit.page.get_by_role("button", name=f"Check now: {DESTINATION}").click()
    expect(row(visit.page, "127.0.0.1").get_by_role("status")).to_contain_text("Somebody else changed this")


# --- Leads ---


def test_leads_are_filtered_in_the_address_which_can_be_shared_and_gone_back_to(
    visit: Visit, context: BrowserContext, lead: str
) -> None:
    visit.enter()
    visit.go_to("Leads")
    page = visit.page
    page.get_by_label("State").select_option("delivered")
    page.get_by_label("Stage").select_option("interest")
    page.get_by_label("Offer").select_option(OFFER)
    expect(page).to_have_url(re.compile(r"#/leads\?state=delivered&offer=contoso.crm&stage=initial_interest$"))
    expect(page.get_by_role("table", name="Leads").get_by_role("link").first).to_be_visible()
    shared = page.url
    page.get_by_role("table", name="Leads").get_by_role("link").first.click()
    visit.heading("Lead")
    page.go_back()
    visit.heading("Leads")
    expect(page.get_by_label("Stage")).to_have_value("initial_interest")
    page.get_by_label("Destination").select_option("crm")
    expect(page).to_have_url(re.compile("destination=crm"))
    expect(page.get_by_role("table", name="Leads").get_by_role("link").first).to_be_visible()
    page.get_by_label("Reason (code)").fill("no-such-code")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("reason=no-such-code"))
    expect(page.get_by_text(re.compile("No lead matches the filter.|None of the leads"))).to_be_visible()
    page.get_by_label("Reason (code)").fill("")
    page.keyboard.press("Enter")
    page.get_by_label("Stage").select_option("purchase")
    expect(page.get_by_text("No lead matches the filter.")).to_be_visible()
    page.get_by_role("link", name="Show all").click()
    expect(page).to_have_url(re.compile("#/leads$"))
    other = Visit(context.new_page(), visit.base, visit.key)
    other.page.goto(shared)
    other.sign_in()
    other.heading("Leads")
    expect(other.page.get_by_label("Stage")).to_have_value("initial_interest")


def test_no_page_asks_for_all_leads(visit: Visit, shared_storage: str) -> None:
    put_delivered_leads(shared_storage, 52)
    visit.enter("#/leads?since=1h")
    rows = visit.page.get_by_role("table", name="Leads").get_by_role("row")
    expect(rows).to_have_count(51)  # with the heads
    newest = visit.page.get_by_role("table", name="Leads").get_by_role("link").first.get_attribute("href")
    visit.page.get_by_role("link", name="Older").click()
    expect(visit.page.get_by_role("link", name="Newest")).to_be_visible()
    expect(rows).not_to_have_count(51)
    visit.page.go_back()
    expect(visit.page.get_by_role("table", name="Leads").get_by_role("link").first).to_have_attribute(
        "href", newest or ""
    )
    assert all("limit=50" in request.url for request in visit.asked if "/leads?" in request.url)


def test_what_a_customer_wrote_is_text_and_reads_in_its_own_direction(visit: Visit, lead: str) -> None:
    visit.enter(f"#/leads/{lead}")
    expect(visit.page.get_by_text(SCRIPT)).to_have_count(0)
    visit.page.get_by_role("button", name="Show what the customer said").click()
    expect(visit.page.get_by_text(SCRIPT)).to_be_visible()
    name = visit.page.get_by_text(FROM_RIGHT_TO_LEFT)
    assert name.evaluate("element => getComputedStyle(element).direction") == "rtl"
    assert visit.page.evaluate("window.hacked") is None
    visit.accessible()


def test_times_are_the_viewer_s_and_utc_when_pointed_at(visit: Visit, lead: str) -> None:
    visit.enter(f"#/leads/{lead}")
    time = visit.page.get_by_role("time").first
    at = time.get_attribute("datetime") or ""
    assert (time.get_attribute("title") or "").startswith(at[:19].replace("T", " "))
    shown = time.evaluate(
        "element => new Date(element.dateTime).toLocaleString('en-GB', {hour: '2-digit', minute: '2-digit'})"
    )
    expect(time).to_contain_text(shown)


def test_a_refused_lead_is_sent_again_after_a_look_at_what_would_be_done(
    visit: Visit, app: RunningApp, crm_of_app: Vendor, numbers: None
) -> None:
    crm_of_app.answer = lambda call: REJECTED
    refused = app.post(a_lead("refused@example.com")).json()["lead_id"]
    app.wait_for(refused, "dead_letter")
    crm_of_app.works()
    visit.enter()
    needs = visit.page.get_by_role("region", name="What needs you")
    expect(needs).to_contain_text(REJECTED["reason"])
    needs.get_by_role("link", name="Show the leads").click()
    visit.page.get_by_role("table", name="Leads").get_by_role("link").first.click()
    expect(visit.page.get_by_role("table", name="Attempts: crm")).to_contain_text("refused")
    sent = len(crm_of_app.calls)
    visit.page.get_by_role("button", name="Send again…").click()
    asked = visit.page.get_by_role("dialog", name="Send this lead again?")
    expect(asked).to_contain_text("would be sent again")
    visit.accessible()
    asked.get_by_role("button", name="Cancel").click()
    assert len(crm_of_app.calls) == sent
    visit.page.get_by_role("button", name="Send again…").click()
    asked.get_by_role("button", name="Send again now").click()
    expect(visit.page.get_by_text("1 delivery is on the way again.")).to_be_visible()
    app.wait_for(refused, "delivered")
    assert len(crm_of_app.calls) == sent + 1


def test_nothing_is_sent_again_that_was_delivered_unless_it_is_asked_for(
    visit: Visit, crm_of_app: Vendor, lead: str
) -> None:
    visit.enter(f"#/leads/{lead}")
    visit.page.get_by_role("button", name="Send again…").click()
    asked = visit.page.get_by_role("dialog")
    expect(asked).to_contain_text("Nothing would be sent.")
    expect(asked.get_by_role("button", name="Send again now")).to_be_disabled()
    asked.get_by_label("Also to destinations that already have the lead").check()
    expect(asked).to_contain_text("The vendor is called again.")
    expect(asked.get_by_role("button", name="Send again now")).to_be_enabled()


# --- When something is wrong ---


def test_an_app_out_of_reach_is_reported_and_asked_again(visit: Visit, context: BrowserContext, lead: str) -> None:
    visit.enter("#/leads")
    expect(visit.page.get_by_role("table", name="Leads")).to_be_visible()
    context.route("**/api/manage/leads?*", lambda route: route.abort("connectionrefused"))
    visit.page.get_by_role("button", name="Refresh").click()
    expect(visit.page.get_by_role("alert")).to_contain_text("the app can't be reached")
    expect(visit.page.get_by_role("table", name="Leads")).to_be_visible()
    visit.accessible()
    context.unroute("**/api/manage/leads?*")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.page.get_by_role("alert")).to_have_count(0)


def test_what_is_shown_can_be_read_while_a_slow_app_is_asked_again(
    visit: Visit, context: BrowserContext, lead: str
) -> None:
    visit.enter("#/connections")
    expect(visit.page.get_by_role("table").first).to_be_visible()
    slow: list[Route] = []
    context.route("**/api/manage/status", lambda route: slow.append(route))
    visit.page.get_by_role("button", name="Refresh").click()
    expect(visit.page.get_by_text("Loading…")).to_be_visible()
    visit.accessible()
    expect(visit.page.get_by_role("table").first).to_be_visible()
    assert len(slow) == 1, "it is asked once"
    slow.pop().continue_()
    expect(visit.page.get_by_text("As of")).to_be_visible()


def test_a_problem_of_the_app_is_shown(visit: Visit) -> None:
    visit.enter("#/leads/20260131235959999-0123456789ab-c")
    expect(visit.page.get_by_role("alert")).to_contain_text("no lead has this id")
    visit.open("#/leads?since=yesterday")
    expect(visit.page.get_by_role("alert")).to_contain_text("since: write a time as")
    visit.open("#/nothing")
    visit.heading("There is no such page")


# --- For everybody ---


def test_each_page_is_accessible_and_fits(visit: Visit, lead: str, numbers: None) -> None:
    visit.enter()
    for name in ("Overview", "Connections", "Leads"):
        visit.go_to(name)
        expect(visit.page.get_by_role("table").first).to_be_visible()
        visit.accessible_and_fits()
    visit.open(f"#/leads/{lead}")
    expect(visit.page.get_by_role("table", name="Attempts: crm")).to_be_visible()
    visit.accessible_and_fits()


def test_the_keyboard_alone_will_do(visit: Visit, lead: str) -> None:
    visit.open()
    page = visit.page
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    page.keyboard.type(visit.key)
    page.keyboard.press("Enter")
    visit.heading("Overview")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Leads")).to_be_focused()
    page.keyboard.press("Enter")
    visit.heading("Leads")
    expect(page.get_by_role("heading", level=1, name="Leads")).to_be_focused()
    expect(page.get_by_role("table", name="Leads")).to_be_visible()
    for _ in range(30):
        page.keyboard.press("Tab")
        if "/leads/" in (page.evaluate("document.activeElement.hash") or ""):
            break
    page.keyboard.press("Enter")
    visit.heading("Lead")
