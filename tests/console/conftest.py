"""A browser over the running app. It records forbidden acts of a page: calls to other hosts, policy violations, failures."""

from __future__ import annotations

import json
import shutil
import signal
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from leads.core import clock
from leads.core.identity import new_lead_id
from leads.core.lead import Stage
from leads.core.lead_parsing import parse_body
from leads.core.states import State
from leads.ledger.rows import Delivery, LeadRecord, lead_entity
from leads.offers.model import read_offer
from leads.platform.storage import Operation, replacing
from tests.e2e.conftest import app_on
from tests.support.pipeline import a_lead, crm
from tests.support.running_app import PERSONAL_DATA_OVER_HTTP, TARGET, RunningApp, running_app
from tests.support.vendor import Vendor

AXE = (Path(__file__).parent / "axe.min.js").read_text()
TELL_OF_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
MILLISECONDS = 60_000
SECONDS_A_TEST, SECONDS_TO_END = 300, 30
NUMBERS = count()
OFFER = "contoso.crm"
SCRIPT = "<script>window.hacked = 1</script>"
FROM_RIGHT_TO_LEFT = "ليلى حداد"
Look = tuple[int, Literal["dark", "light"]]
NARROW_AND_DARK: Look = (360, "dark")
WIDE_AND_LIGHT: Look = (2560, "light")

expect.set_options(timeout=MILLISECONDS)


@dataclass
class Visit:
    """A tab, and what was recorded in it."""

    page: Page
    base: str
    key: str
    asked: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def open(self, address: str = "") -> None:
        """Open the console at an address of its own (`#/leads`)."""
        self.page.goto(f"{self.base}/api/console{address}")

    def sign_in(self, key: str = "", *, of: str = "manage", keep: bool = False) -> None:
        """With a key of the function `of`."""
        self.page.get_by_label("Key", exact=True).fill(key or self.key)
        self.page.get_by_label("Of the function").select_option(of)
        if keep:
            self.page.get_by_label("Keep it until this tab is closed").check()
        self.page.get_by_role("button", name="Sign in").click()

    def enter(self, address: str = "") -> None:
        """Open an address and sign in."""
        self.open(address)
        self.sign_in()
        self.heading(None)

    def heading(self, name: str | None) -> None:
        """Wait for the page of this name; None = any but the one to sign in."""
        if name is None:
            expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()
        else:
            expect(self.page.get_by_role("heading", level=1, name=name)).to_be_visible()

    def go_to(self, name: str) -> None:
        self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        self.heading(name)

    def accessible(self) -> None:
        """axe-core finds nothing wrong with what is shown."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE)
        run = "axe.run().then(({ violations }) => ({ found: violations.map(({ id, nodes }) => [id, nodes[0].html]) }))"
        assert self.page.wait_for_function(run).json_value() == {"found": []}

    def accessible_and_fits(self) -> None:
        """The page that is shown, in a narrow dark window and in a wide light one."""
        for width, scheme in NARROW_AND_DARK, WIDE_AND_LIGHT:
            self.page.set_viewport_size({"width": width, "height": 900})
            self.page.emulate_media(color_scheme=scheme)
            self.accessible()
            assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (self.page.url, width)


def put_delivered_leads(storage: str, number: int) -> None:
    """Rows of so many delivered leads, the newest a minute old."""
    table, lead, now = app_on(storage).ledger.table, parse_body(json.dumps(a_lead()).encode()), clock.now()
    rows = defaultdict(list)
    for each in range(number):
        at = now - timedelta(seconds=60 + 2 * each)
        record = LeadRecord(new_lead_id(at, lead), at, lead, offer=OFFER, stage=Stage.INITIAL_INTEREST)
        record.deliveries["crm"] = Delivery("crm", state=State.DELIVERED)
        entity = lead_entity(record, whole=True)
        rows[entity["PartitionKey"]].append(entity)
    for of_partition in rows.values():
        for first in range(0, len(of_partition), 100):
            part = of_partition[first : first + 100]
            operations: list[Operation] = [("upsert", entity, replacing()) for entity in part]
            table.write(operations)


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """A limit for browser calls without one, so that a hanging page does not stop the whole run."""

    def end(*_: object) -> None:
        raise TimeoutError("the browser has not answered in time")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_A_TEST, SECONDS_TO_END)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def crm_of_app() -> Iterator[Vendor]:
    with Vendor() as running:
        yield running


@pytest.fixture(scope="module")
def app(shared_storage: str, crm_of_app: Vendor) -> Iterator[RunningApp]:
    """The app with an offer for the tests' own CRM."""
    if TARGET.address:
        pytest.skip(f"this test starts the app itself (HOST={TARGET.name} runs already)")
    offers = app_on(shared_storage).offers
    offers.save(read_offer({"id": OFFER, "titles": ["Contoso CRM"], "destinations": [crm(crm_of_app.url)]}))
    with running_app(shared_storage, settings=PERSONAL_DATA_OVER_HTTP) as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> None:
    """Before each test, the vendor works and no connection is paused."""
    if "app" not in request.fixturenames:
        return
    app: RunningApp = request.getfixturevalue("app")
    request.getfixturevalue("crm_of_app").works()
    for connection in app.call("GET", "/api/manage/connections").json()["connections"]:
        if connection["paused"]:
            assert app.call("POST", f"/api/manage/connections/{connection['id']}/resume", b"{}").status == 200


@pytest.fixture
def lead(app: RunningApp, healthy: None) -> str:
    """The id of a delivered lead, whose customer has an odd name."""
    body = a_lead(f"{next(NUMBERS)}@customers.example.com")
    person = body["UserDetails"] | {"FirstName": SCRIPT, "LastName": FROM_RIGHT_TO_LEFT}
    lead_id: str = app.post(body | {"UserDetails": person}).json()["lead_id"]
    app.wait_for(lead_id, "delivered")
    return lead_id


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """What the tabs of a module share: a cache, and a first tab that keeps it warm."""
    made = browser.new_context(
        viewport={"width": 1280, "height": 900}, timezone_id="America/New_York", reduced_motion="reduce"
    )
    made.set_default_timeout(MILLISECONDS)
    made.add_init_script(TELL_OF_VIOLATIONS)
    made.new_page()
    yield made
    made.close()


@pytest.fixture
def context(profile: BrowserContext) -> Iterator[BrowserContext]:
    """The tabs and intercepted requests of a test end with it."""
    yield profile
    profile.unroute_all()
    for page in profile.pages[1:]:
        page.close()


@pytest.fixture
def visit(app: RunningApp, context: BrowserContext) -> Iterator[Visit]:
    """A tab of the console."""
    page = context.new_page()
    made = Visit(page, app.host.base_url, app.host.function_keys["manage"])
    page.on("request", lambda request: made.asked.append(request))
    page.on("pageerror", lambda error: made.faults.append(str(error)))
    yield made
    assert {
        urlsplit(request.url).netloc for request in made.asked if not request.url.startswith(("data:", "blob:"))
    } == {urlsplit(made.base).netloc}
    assert made.key not in " ".join(request.url for request in made.asked)
    assert made.faults == []
    assert page.evaluate("window.violations") == []
