"""Delivering to a vendor over HTTPS: requests a lead, and what the destination layer adds to a bare `requests` call."""

import itertools
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
from azure.data.tables import TableClient

from benchmarks.delivery import ONLY_QUEUES, draining
from benchmarks.effort import Effort
from benchmarks.report import Result, Target, compared_result, result
from benchmarks.rounds import Measure, compare
from benchmarks.side import FLOOR, OURS, accounts, running
from benchmarks.typical import DESTINATION, OFFER, OFFER_SETTINGS, body
from leads.core.lead import Stage
from leads.core.lead_parsing import parse_body
from leads.core.outcomes import Delivered
from leads.destinations.base import Customer, Destination, OutgoingLead
from leads.destinations.rate_limiter import ALLOWANCES_TABLE, RateLimit, RateLimiter
from tests.fakes import marketo
from tests.fakes.dataverse import Dataverse
from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.hubspot import HubSpot
from tests.fakes.marketo import Marketo
from tests.fakes.salesforce import Salesforce
from tests.fakes.tls import make_authority
from tests.fakes.web_to_lead import OID
from tests.support.destination import Instance

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
CRMS = {"Dynamics 365": "dataverse", "Salesforce": "salesforce"}
SECRETS = {"LEADS_SECRET_WEBHOOK": SECRET, "LEADS_SECRET_CRM": "the secret"}


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Seventeen rows."""
    with vendor_process() as vendor, accounts(1) as (storage,):
        marketo = _marketo(vendor, storage)
        return [
            *(row for crm in CRMS for row in _requests(vendor, crm)),
            *_requests_of_marketo(vendor, marketo),
            *_requests_of_hubspot(vendor),
            _own_work("a webhook call", _webhook(vendor), vendor, effort, tell),
            *(_own_work(f"a first lead to {crm}", _crm(vendor, crm), vendor, effort, tell) for crm in CRMS),
            _own_work("a Web-to-Lead form", _form(vendor, storage), vendor, effort, tell, _counting(storage)),
            _own_work("a first lead to Marketo", marketo, vendor, effort, tell, _taking_a_slot(storage)),
            _speed(vendor, effort, tell),
        ]


# --- The vendors, in a process of their own so that their work is not counted ------------------------------------------------


@dataclass(frozen=True)
class Vendors:
    """Where they listen, and the certificates by which they are trusted. `settings` are those of each CRM's destination."""

    hook: str
    settings: Mapping[str, Mapping[str, str]]
    bundle: str
    line: Connection

    def requests_of(self, crm: str) -> int:
        """How many requests a CRM has had so far, tokens left out."""
        self.line.send(crm)
        return int(self.line.recv())

    @property
    def environment(self) -> dict[str, str]:
        return {"LEADS_ALLOWED_NETWORKS": "127.0.0.0/8", "LEADS_CA_BUNDLE": self.bundle, **SECRETS}


class _Accepting(VendorServer):
    """Takes everything."""

    def answer(self, request: Request) -> Response:  # noqa: ARG002 - it is the same whatever comes
        self.journal.clear()
        return Response(200)


def _serve(line: Connection, folder: str) -> None:
    authority = make_authority(Path(folder))
    with (
        _Accepting(authority) as hook,
        Dataverse(authority) as dynamics,
        Salesforce(authority) as salesforce,
        Marketo(authority) as instance,
        HubSpot(authority) as account,
    ):
        instance.calls_in_20_seconds = instance.quota = sys.maxsize
        account.token = SECRETS["LEADS_SECRET_CRM"]
        crms: dict[str, Dataverse | Salesforce | Marketo | HubSpot] = {
            "Dynamics 365": dynamics,
            "Salesforce": salesforce,
            "Marketo": instance,
            "HubSpot": account,
        }
        settings = {name: crm.settings("env:LEADS_SECRET_CRM") for name, crm in crms.items()}
        settings["Marketo"]["journey_field"] = "marketplaceJourney"
        line.send((f"{hook.url}/leads", settings, authority.bundle))
        while crm := line.recv():
            line.send(crms[crm].requests())


@contextmanager
def vendor_process() -> Iterator[Vendors]:
    """The vendors serve until the block ends."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    with TemporaryDirectory(prefix="vendors-") as folder:
        process = spawning.Process(target=_serve, args=(theirs, folder), daemon=True)
        process.start()
        try:
            hook, settings, bundle = ours.recv()
            yield Vendors(hook, settings, bundle, ours)
        finally:
            ours.send("")
            process.join(10)


# --- One send ---------------------------------------------------------------------------------------------------------------


def _made(vendor: Vendors, type_name: str, settings: Mapping[str, Any], storage: str = "") -> Destination:
    return Instance(vendor.bundle, SECRETS, storage).make({"type": type_name, "settings": settings})


def _webhook(vendor: Vendors) -> Destination:
    return _made(vendor, "webhook", {"url": vendor.hook, "secret": "env:LEADS_SECRET_WEBHOOK"})


def _crm(vendor: Vendors, crm: str, **settings: str) -> Destination:
    return _made(vendor, CRMS[crm], {**vendor.settings[crm], **settings})


def _form(vendor: Vendors, storage: str) -> Destination:
    given = {"oid": OID, "url": vendor.hook, "daily_limit": 100_000}
    return _made(vendor, "salesforce_web_to_lead", given, storage)


def _counting(storage: str) -> Callable[[], object]:
    """The storage request by which a form is counted, made with the SDK alone."""
    table = TableClient.from_connection_string(storage, "Floor")
    table.create_table()
    return lambda: table.upsert_entity({"PartitionKey": "web_to_lead", "RowKey": OID, "hours": '{"2026-01-31T14": 1}'})


def _taking_a_slot(storage: str) -> Callable[[], object]:
    """The storage requests by which a call's slot is found, taken and given back, made with the SDK alone."""
    table = TableClient.from_connection_string(storage, "FloorSlots")
    table.create_table()
    row = {"PartitionKey": "marketo", "RowKey": "slot", "calls": "[]", "holder": "floor"}

    def take() -> None:
        list(table.query_entities("PartitionKey eq 'marketo'"))
        table.upsert_entity(row)
        table.upsert_entity(row)

    return take


def _marketo(vendor: Vendors, storage: str) -> Destination:
    """With a rate limit that holds up no measurement, kept as in the app."""
    instance = Instance(vendor.bundle, SECRETS, storage)
    plenty = RateLimit(at_once=5, calls=1000, seconds=0.001, longest_call=90)
    table = instance.context.storage.table(ALLOWANCES_TABLE)
    instance.context.shared(
        ("marketo limiter", marketo.MUNCHKIN), lambda: RateLimiter(table, "marketo;benchmark", plenty)
    )
    return instance.make({"type": "marketo", "settings": vendor.settings["Marketo"]})


_NUMBERS = itertools.count()


def _outgoing() -> tuple[OutgoingLead, Customer]:
    from leads.core.clock import now

    number = next(_NUMBERS)
    lead = parse_body(body(number))
    outgoing = OutgoingLead(
        f"20260101000000000-{number:012d}-c", lead, OFFER, DESTINATION, Stage.INITIAL_INTEREST, now()
    )
    return outgoing, Customer(f"{number:032d}")


def _later(outgoing: OutgoingLead) -> OutgoingLead:
    """The same customer's next stage."""
    lead_id = f"20260101000000000-{next(_NUMBERS):012d}-c"
    return replace(outgoing, lead_id=lead_id, stage=Stage.CONTACT_REQUESTED)


def _requests(vendor: Vendors, crm: str) -> list[Result]:
    destination, without_search = _crm(vendor, crm), _crm(vendor, crm, match_existing="off")
    outgoing, customer = _outgoing()
    first, known = _counted(vendor, crm, destination, outgoing, customer)
    later, _ = _counted(vendor, crm, destination, _later(outgoing), known)
    unsearched, _ = _counted(vendor, crm, without_search, *_outgoing())
    return [
        result(f"{crm}, requests for a customer's first lead", first, Target("=", 2, "ours")),
        result(f"{crm}, requests for a later stage", later, Target("=", 2, "ours")),
        result(f"{crm}, requests for a first lead without a search", unsearched, Target("=", 1, "ours")),
    ]


def _requests_of_marketo(vendor: Vendors, destination: Destination) -> list[Result]:
    destination.send(*_outgoing())  # asks for the instance's fields
    outgoing, customer = _outgoing()
    first, known = _counted(vendor, "Marketo", destination, outgoing, customer)
    stage = _later(outgoing)
    later, _ = _counted(vendor, "Marketo", destination, stage, known)
    overwriting, _ = _counted(vendor, "Marketo", destination, replace(stage, overwrite=True), known)
    return [
        result("Marketo, requests for a customer's first lead", first, Target("=", 1, "ours")),
        result("Marketo, requests for a later stage", later, Target("=", 2, "ours")),
        result("Marketo, requests for a later stage that overwrites", overwriting, Target("=", 1, "ours")),
    ]


def _requests_of_hubspot(vendor: Vendors) -> list[Result]:
    destination = _made(vendor, "hubspot", vendor.settings["HubSpot"])
    outgoing, customer = _outgoing()
    first, known = _counted(vendor, "HubSpot", destination, outgoing, customer)
    later, _ = _counted(vendor, "HubSpot", destination, _later(outgoing), known)
    return [
        result("HubSpot, requests for a customer's first lead", first, Target("=", 2, "ours")),
        result("HubSpot, requests for a later stage", later, Target("=", 3, "ours")),
    ]


def _counted(
    vendor: Vendors, crm: str, destination: Destination, outgoing: OutgoingLead, customer: Customer
) -> tuple[int, Customer]:
    """How many requests a lead took, and the customer as the ledger knows it then."""
    before = vendor.requests_of(crm)
    delivered = destination.send(outgoing, customer)
    assert isinstance(delivered, Delivered), delivered
    known = replace(customer, record_id=delivered.record_id, memory=delivered.memory or {})
    return vendor.requests_of(crm) - before, known


def _own_work(
    what: str,
    destination: Destination,
    vendor: Vendors,
    effort: Effort,
    tell: Callable[[str], None],
    at_storage: Callable[[], object] = lambda: None,
) -> Result:
    """Beside a loop that makes the same requests, byte for byte, with `requests` alone; `at_storage` is what it does there."""
    sent = _recorded(destination)
    session = requests.Session()
    session.trust_env = False
    session.verify = vendor.bundle
    calls = effort.delivered_leads

    def ours() -> list[float]:
        leads = [_outgoing() for _ in range(calls)]
        started = time.process_time()
        for outgoing, customer in leads:
            destination.send(outgoing, customer)
        return [(time.process_time() - started) / calls * 1e6]

    def floor() -> list[float]:
        started = time.process_time()
        for _ in range(calls):
            at_storage()
            for method, url, options in sent:
                session.request(method, url, timeout=60, allow_redirects=False, **options)
        return [(time.process_time() - started) / calls * 1e6]

    compared = compare(ours, floor, effort, tell)[0]
    return compared_result(f"own CPU of {what}, µs", compared, Target("≤", 1.5))


def _recorded(destination: Destination) -> list[tuple[str, str, dict[str, Any]]]:
    """The requests of one lead as they go out."""
    destination.send(*_outgoing())  # so that there is a token
    sent: list[tuple[str, str, dict[str, Any]]] = []
    real = destination.http.request

    def record(method: str, url: str, **options: Any) -> Any:
        sent.append((method, url, {"headers": options.get("headers"), "data": options.get("body")}))
        return real(method, url, **options)

    destination.http.request = record  # type: ignore[method-assign]
    try:
        destination.send(*_outgoing())
    finally:
        destination.http.request = real  # type: ignore[method-assign]
    return sent


def _speed(vendor: Vendors, effort: Effort, tell: Callable[[str], None]) -> Result:
    settings = {"url": vendor.hook, "secret": "env:LEADS_SECRET_WEBHOOK"}
    offer = OFFER_SETTINGS | {"destinations": [{"name": DESTINATION, "type": "webhook", "settings": settings}]}
    environment = vendor.environment | {"FLOOR_VENDOR": vendor.hook}
    with (
        accounts(2) as (first, second),
        running(OURS, first, *ONLY_QUEUES, offer=offer, environment=environment) as ours,
        running(FLOOR, second, *ONLY_QUEUES, environment=environment) as floor,
    ):
        sides: list[Measure] = [draining(side, effort.delivered_leads) for side in (ours, floor)]
        for warm_up in sides:
            warm_up()
        speed = compare(sides[0], sides[1], effort, tell)[0]
    return compared_result("delivery to a webhook, leads/s", speed, Target("≥", 0.9))
