"""The Azure Table destination writes the row of Microsoft's own connector once, in the named account."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.data.tables import TableClient, TableServiceClient
from hypothesis import HealthCheck, example, given, settings
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from leads.core.lead import Lead, Stage
from leads.core.lead_parsing import parse_body, parse_record
from leads.core.outcomes import Delivered, Misconfigured, Rejected, Retry
from leads.core.states import State
from leads.destinations import make, read_settings
from leads.destinations.base import Context, Customer, OutgoingLead
from leads.destinations.vendors.azure_table import AzureTable
from leads.destinations.vendors.azure_table.rows import to_entity
from leads.platform.secrets import KeptSecret, Secrets
from leads.platform.settings import Settings
from leads.platform.storage import Storage
from leads.platform.table_format import joined_text
from tests.support.account import named_parts, rows
from tests.support.in_time import in_time
from tests.support.pipeline import Pipeline, a_lead
from tests.support.strategies import leads

pytestmark = pytest.mark.storage("azurite")

LEAD_ID = "20260131235959999-0123456789ab-c"
CUSTOMER = Customer("0f" * 16)
KEY = "c2VjcmV0LWtleS1vZi1ub2JvZHk="
WRITING = {"POST", "PUT", "PATCH", "MERGE", "DELETE"}
BODY = {
    "CustomerInfo": {
        "FirstName": "Ada",
        "LastName": "O'Neil",
        "Email": "Ada+crm@Example.com",
        "Phone": "16175555555",
        "Country": "USA",
        "Company": "Example Works",
        "Title": "Engineer",
    },
    "LeadSource": "AzureMarketplace-INS|contoso.crm",
    "ActionCode": "PLT",
    "ProductId": "contoso.crm",
    "OfferDisplayName": "Contoso CRM",
    "PublisherDisplayName": "Contoso",
    "Description": "Please call",
}


def outgoing(lead: Lead | None = None, lead_id: str = LEAD_ID) -> OutgoingLead:
    lead = lead if lead is not None else parse_body(json.dumps(BODY).encode())
    received_at = datetime(2026, 1, 31, 9, 5, 7, 999_000, tzinfo=UTC)
    return OutgoingLead(lead_id, lead, "contoso.crm", "table", Stage.CONTACT_REQUESTED, received_at)


def table_of(storage: str = "", *, networks: str = "", **chosen: str) -> AzureTable:
    """The destination with these settings, in an app with this storage account and these allowed networks."""
    app = Settings.model_validate({"LeadsStorage": storage, "LEADS_ALLOWED_NETWORKS": networks})
    made = make("azure_table", chosen, Context(app, Secrets(app), Storage(app)))
    assert isinstance(made, AzureTable)
    return made


def tables(connection_string: str) -> list[str]:
    with TableServiceClient.from_connection_string(connection_string) as service:
        return [table.name for table in service.list_tables()]


def with_key(connection_string: str, key: str) -> str:
    fields = named_parts(connection_string)
    return ";".join(f"{name}={value}" for name, value in (fields | {"AccountKey": key}).items())


@pytest.fixture
def another_account(_unused_accounts: Iterator[str]) -> str:
    return next(_unused_accounts)


# --- The row ----------------------------------------------------------------------------------------------------------


def test_the_row_has_the_columns_of_microsofts_connector_and_one_for_each_customer_field(fresh_storage: str) -> None:
    assert table_of(fresh_storage).send(outgoing(), CUSTOMER) == Delivered(LEAD_ID, "created")
    (row,) = rows(fresh_storage)
    customer_info = row.pop("CustomerInfo")
    assert row == {
        "PartitionKey": "20260131",
        "RowKey": LEAD_ID,
        "CreatedTime": "01/31/2026 09:05:07",
        "LeadSource": "AzureMarketplace-INS|contoso.crm",
        "ActionCode": "PLT",
        "ProductId": "contoso.crm",
        "OfferDisplayName": "Contoso CRM",
        "PublisherDisplayName": "Contoso",
        "Description": "Please call",
        "FirstName": "Ada",
        "LastName": "O'Neil",
        "Email": "Ada+crm@Example.com",
        "Phone": "16175555555",
        "Country": "USA",
        "Company": "Example Works",
        "Title": "Engineer",
        "Offer": "contoso.crm",
        "Stage": "contact_requested",
        "CountryCode": "US",
        "CustomerKey": CUSTOMER.key,
        "IsTest": False,
    }
    assert isinstance(customer_info, str)
    assert json.loads(customer_info) == BODY["CustomerInfo"]


def test_missing_values_are_blank_and_values_of_the_source_are_used(fresh_storage: str) -> None:
    lead = Lead(lead_source="AzureMarketplace-INS|contoso.crm")
    table_of(fresh_storage).send(outgoing(lead), CUSTOMER)
    (row,) = rows(fresh_storage)
    assert (row["ActionCode"], row["ProductId"], row["PublisherDisplayName"]) == ("INS", "contoso.crm", "contoso")
    assert (row["Email"], row["Description"], row["CountryCode"]) == ("", "", "")
    assert "Extra" not in row


def test_unknown_fields_are_kept_and_a_test_lead_is_marked(fresh_storage: str) -> None:
    body = BODY | {
        "CustomerInfo": {"Email": "MSFT_TEST_636573304831318844@test.com", "Fax": "1 617"},
        "PartnerTier": "gold",
    }
    table_of(fresh_storage).send(outgoing(parse_body(json.dumps(body).encode())), CUSTOMER)
    (row,) = rows(fresh_storage)
    assert row["IsTest"] is True
    assert json.loads(row["Extra"]) == {"PartnerTier": "gold"}
    assert json.loads(row["CustomerInfo"])["Fax"] == "1 617"


def whole(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its numbered columns joined, as a reader of the table would do."""
    names = ("LeadSource", "ActionCode", "ProductId", "OfferDisplayName", "PublisherDisplayName", "CustomerInfo")
    return {name: joined_text(row, name) for name in (*names, "Description", "CreatedTime")}


@given(leads)
def test_the_row_is_read_as_the_lead_that_it_was_made_from(lead: Lead) -> None:
    read = parse_record(whole(to_entity(outgoing(lead), CUSTOMER)))
    for name in ("first_name", "last_name", "email", "phone", "country", "company", "title", "description"):
        assert getattr(read, name) == getattr(lead, name)
    assert read.customer_extra == lead.customer_extra
    assert (read.lead_source, read.action) == (lead.lead_source, lead.action)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lead=leads)
@example(lead=Lead(email="\t\n", description="a\u2028b\ufffd", extra={"": "'", "\"'`": "\\"}))
@example(lead=Lead(first_name="שלום", last_name="🙂👩‍👩‍👧", company="A & B <C>"))
def test_any_lead_is_stored(fresh_storage: str, lead: Lead) -> None:
    destination = table_of(fresh_storage)
    sent = outgoing(lead)
    assert isinstance(destination.send(sent, CUSTOMER), Delivered)
    with TableClient.from_connection_string(fresh_storage, "MarketplaceLeads") as client:
        stored = dict(client.get_entity("20260131", LEAD_ID))
        client.delete_entity("20260131", LEAD_ID)
    assert stored == to_entity(sent, CUSTOMER)


# --- Long leads -------------------------------------------------------------------------------------------------------

LONG = 200 * 1024


@pytest.mark.parametrize("field", ["Description", "OfferDisplayName", "LeadSource"])
def test_a_text_of_200_kib_continues_in_numbered_columns(fresh_storage: str, field: str) -> None:
    text = ("Zoë's long story 🙂 " * 20_000)[:LONG].strip()
    table_of(fresh_storage).send(outgoing(parse_record(BODY | {field: text})), CUSTOMER)
    (row,) = rows(fresh_storage)
    assert joined_text(row, field) == text
    assert f"{field}_2" in row
    assert row["Email"] == "Ada+crm@Example.com"


def test_a_single_e_mail_field_of_200_kib_arrives_whole(pipeline: Pipeline, fresh_storage: str) -> None:
    pipeline.offer({"name": "table", "type": "azure_table"})
    email = "e" * (LONG - len("@example.com")) + "@example.com"
    lead_id = pipeline.post(a_lead(email))
    pipeline.run()
    assert pipeline.delivery(lead_id, "table").state is State.DELIVERED
    (row,) = rows(fresh_storage)
    assert json.loads(joined_text(row, "CustomerInfo"))["Email"] == email
    assert joined_text(row, "Email") == email


def test_where_the_row_would_be_too_large_customer_info_alone_holds_the_customer(fresh_storage: str) -> None:
    customer = dict.fromkeys(("FirstName", "LastName", "Phone", "Country", "Company", "Title"), "🙂" * 10000)
    lead = parse_record(BODY | {"CustomerInfo": customer | {"Email": "e" * 240_000}})
    assert isinstance(table_of(fresh_storage).send(outgoing(lead), CUSTOMER), Delivered)
    (row,) = rows(fresh_storage)
    assert json.loads(joined_text(row, "CustomerInfo")) == customer | {"Email": "e" * 240_000}
    assert "Email" not in row


# --- Once -------------------------------------------------------------------------------------------------------------


def test_a_second_send_finds_the_row_and_changes_nothing(fresh_storage: str) -> None:
    destination = table_of(fresh_storage)
    first = destination.send(outgoing(), CUSTOMER)
    before = rows(fresh_storage)
    again = destination.send(outgoing(Lead(email="somebody.else@example.com")), CUSTOMER)
    assert first == Delivered(LEAD_ID, "created")
    assert again == Delivered(LEAD_ID, "EntityAlreadyExists")
    assert rows(fresh_storage) == before


def test_each_lead_has_one_row_also_for_one_customer_and_after_redelivery(
    pipeline: Pipeline, fresh_storage: str
) -> None:
    pipeline.offer({"name": "table", "type": "azure_table"})
    posted = [pipeline.post(a_lead(action=action)) for action in ("INS", "PLT", "Create")]
    pipeline.run()
    pipeline.advance(11)
    assert sorted(row["RowKey"] for row in rows(fresh_storage)) == sorted(posted)
    assert len({row["CustomerKey"] for row in rows(fresh_storage)}) == 1
    received_at = pipeline.record(posted[0]).received_at
    assert {row["CreatedTime"] for row in rows(fresh_storage)} == {received_at.strftime("%m/%d/%Y %H:%M:%S")}


# --- Which account and table ------------------------------------------------------------------------------------------


def test_the_table_is_made_where_it_is_missing_and_may_have_another_name(fresh_storage: str) -> None:
    assert tables(fresh_storage) == []
    table_of(fresh_storage, table="OtherLeads").send(outgoing(), CUSTOMER)
    assert tables(fresh_storage) == ["OtherLeads"]
    assert len(rows(fresh_storage, "OtherLeads")) == 1


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda text: text,
        lambda text: f"  {text}\n",
        lambda text: json.dumps({"connectionString": text}),
        lambda text: f"\n{json.dumps({'connectionString': text}, indent=2)}",
    ],
    ids=["plain", "with spaces", "in JSON as in 2017", "in JSON on several lines"],
)
def test_another_account_is_named_by_a_secret_reference(
    wrapped: Any, fresh_storage: str, another_account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_SECRET_CRM_STORAGE", wrapped(another_account))
    outcome = table_of(fresh_storage, connection_string="env:LEADS_SECRET_CRM_STORAGE").send(outgoing(), CUSTOMER)
    assert outcome == Delivered(LEAD_ID, "created")
    assert [row["RowKey"] for row in rows(another_account)] == [LEAD_ID]
    assert tables(fresh_storage) == []


def test_a_rotated_connection_string_is_used_without_a_restart(
    fresh_storage: str, another_account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = table_of(another_account, connection_string="env:LEADS_SECRET_CRM_STORAGE")
    monkeypatch.setenv("LEADS_SECRET_CRM_STORAGE", with_key(another_account, KEY))
    assert isinstance(destination.send(outgoing(), CUSTOMER), Misconfigured)
    assert not destination.check().ok
    monkeypatch.setenv("LEADS_SECRET_CRM_STORAGE", another_account)
    assert destination.check().ok
    assert destination.send(outgoing(), CUSTOMER) == Delivered(LEAD_ID, "created")
    monkeypatch.setenv("LEADS_SECRET_CRM_STORAGE", fresh_storage)
    assert destination.send(outgoing(), CUSTOMER) == Delivered(LEAD_ID, "created")
    assert len(rows(another_account)) == len(rows(fresh_storage)) == 1


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "   ",
        "nonsense",
        "{}",
        "{",
        '{"connectionString": ""}',
        '{"connectionString": null}',
        "[1]",
        f"AccountName=ex ample;AccountKey={KEY}",
        f"AccountName=ex\u00e4mple;AccountKey={KEY}",
    ],
)
def test_a_malformed_connection_string_is_misconfigured_and_never_means_the_apps_own_account(
    secret: str, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_SECRET_CRM_STORAGE", secret)
    destination = table_of(fresh_storage, connection_string="env:LEADS_SECRET_CRM_STORAGE")
    outcome = destination.send(outgoing(), CUSTOMER)
    assert isinstance(outcome, Misconfigured)
    assert "LEADS_SECRET_CRM_STORAGE" in outcome.reason
    checked = destination.check()
    assert (checked.ok, checked.transient, checked.problem) == (False, False, outcome.reason)
    assert tables(fresh_storage) == []


@pytest.mark.parametrize("name", ["ab", "a" * 64, "1leads", "leads-2", "leads_2", "leads table", "leads;", "", "Lëads"])
def test_a_name_that_no_table_can_have_is_refused_when_the_offer_is_saved(name: str) -> None:
    with pytest.raises(ValueError, match=r"^settings\.table: "):
        read_settings("azure_table", {"table": name})


@pytest.mark.parametrize("name", ["abc", "a" * 63, "Leads2026"])
def test_a_name_that_a_table_can_have_is_taken(name: str, fresh_storage: str) -> None:
    assert isinstance(table_of(fresh_storage, table=name).send(outgoing(), CUSTOMER), Delivered)
    assert tables(fresh_storage) == [name]


def test_destinations_with_the_same_account_and_table_share_a_connection() -> None:
    own, same = table_of(), table_of(table="marketplaceleads")
    other_table, other_account = table_of(table="Other"), table_of(connection_string="env:LEADS_SECRET_CRM_STORAGE")
    by_identity = table_of(table_service_uri="https://example.table.core.windows.net")
    assert own.connection == same.connection
    assert len({found.connection for found in (own, other_table, other_account, by_identity)}) == 4


# --- What storage answers ---------------------------------------------------------------------------------------------


def said(*texts: str) -> None:
    """No reason and no log line holds the key or the customer's data."""
    for text in texts:
        for private in (KEY, "ada", "o'neil", "16175555555"):
            assert private.lower() not in text.lower()
        assert len(text.splitlines()) <= 1


@pytest.mark.parametrize(("key", "words"), [(KEY, "refused"), ("abcde", "account key")], ids=["wrong", "no key"])
def test_a_wrong_key_is_misconfigured_and_says_what_to_change(
    another_account: str, monkeypatch: pytest.MonkeyPatch, key: str, words: str
) -> None:
    monkeypatch.setenv("LEADS_SECRET_CRM_STORAGE", with_key(another_account, key))
    destination = table_of(another_account, connection_string="env:LEADS_SECRET_CRM_STORAGE")
    outcome, checked = destination.send(outgoing(), CUSTOMER), destination.check()
    assert isinstance(outcome, Misconfigured)
    assert words in outcome.reason
    assert (checked.ok, checked.transient, checked.code) == (False, False, outcome.code)
    said(outcome.reason, checked.problem)


def at(port: int) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName=example;AccountKey={KEY};"
        f"TableEndpoint=http://127.0.0.1:{port}/example;QueueEndpoint=http://127.0.0.1:{port}/example;"
    )


@contextmanager
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_an_account_that_can_not_be_reached_is_retried() -> None:
    with closed_port() as port:
        destination = table_of(at(port))
        outcome, checked = destination.send(outgoing(), CUSTOMER), destination.check()
    assert outcome == Retry("ServiceRequestError", ours=True)
    assert (checked.ok, checked.transient) == (False, True)
    said(repr(outcome), checked.problem)


def test_an_account_of_somebody_elses_that_can_not_be_reached_counts_against_the_connection(
    monkeypatch: pytest.MonkeyPatch, another_account: str
) -> None:
    with closed_port() as port:
        monkeypatch.setenv("LEADS_SECRET_TABLE", at(port).replace("http:", "https:"))
        secret = "env:LEADS_SECRET_TABLE"
        destination = table_of(another_account, networks="127.0.0.0/8", connection_string=secret)
        assert destination.send(outgoing(), CUSTOMER) == Retry("ServiceRequestError")


class FakeTables:
    """A Table service with given answers, for answers that Azurite never sends."""

    def __init__(self, server: HTTPServer) -> None:
        self.answer = Response(status=500)
        self.seen: list[tuple[str, str]] = []
        server.expect_request(re.compile("^/example/")).respond_with_handler(self._respond)
        self.destination = table_of(at(server.port))

    def answers(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> None:
        body = {"odata.error": {"code": code, "message": {"lang": "en-US", "value": f"About ada, {KEY}"}}}
        text = json.dumps(body) if code else "<html>about ada</html>"
        kind = "application/json" if code else "text/html"
        self.answer = Response(text, status, headers or {}, content_type=kind)

    def _respond(self, request: Request) -> Response:
        self.seen.append((request.method, request.path))
        return self.answer


@pytest.fixture
def fake(httpserver: HTTPServer) -> FakeTables:
    return FakeTables(httpserver)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AuthenticationFailed", "account key"),
        (403, "AuthorizationFailure", "network rules"),
        (403, "AuthorizationPermissionMismatch", "Storage Table Data Contributor"),
        (403, "InsufficientAccountPermissions", "may not write to tables"),
        (403, "AccountIsDisabled", "disabled"),
        (403, "KeyBasedAuthenticationNotPermitted", "table_service_uri"),
        (403, "SomethingNew", "check the credential"),
        (403, "", "check the credential"),
        (401, "InvalidAuthenticationInfo", "check the credential"),
        (401, "", "check the credential"),
    ],
)
def test_a_refused_credential_is_misconfigured_with_what_to_change(
    fake: FakeTables, status: int, code: str, words: str
) -> None:
    fake.answers(status, code)
    outcome = fake.destination.send(outgoing(), CUSTOMER)
    assert isinstance(outcome, Misconfigured)
    assert outcome.code == (code or str(status))
    assert words in outcome.reason
    checked = fake.destination.check()
    assert (checked.ok, checked.transient, checked.code) == (False, False, outcome.code)
    assert words in checked.problem
    said(repr(outcome), repr(checked))


@pytest.mark.parametrize(
    ("signed_until", "words"),
    [
        ("2026-01-31T09:00:00Z", "the SAS in the connection string ended on 2026-01-31 09:00 UTC"),
        ("2026-01-31", "ended on 2026-01-31 00:00 UTC"),
        ("2999-01-01T00%3A00%3A00Z", "the key that signed it was rotated"),
    ],
)
def test_an_expired_signature_is_distinguished_from_a_wrong_key(
    fake: FakeTables, httpserver: HTTPServer, signed_until: str, words: str
) -> None:
    endpoint = f"http://127.0.0.1:{httpserver.port}/example"
    endpoints = f"BlobEndpoint={endpoint};QueueEndpoint={endpoint};TableEndpoint={endpoint}"
    fake.destination = table_of(f"{endpoints};SharedAccessSignature=sv=2022-11-02&se={signed_until}&sig=x")
    fake.answers(403, "AuthenticationFailed")
    outcome, checked = fake.destination.send(outgoing(), CUSTOMER), fake.destination.check()
    assert isinstance(outcome, Misconfigured)
    assert words in outcome.reason and checked.problem == outcome.reason
    assert "account key" not in outcome.reason
    said(repr(outcome), repr(checked))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "PropertyValueTooLarge"),
        (400, "EntityTooLarge"),
        (400, "InvalidInput"),
        (400, "TooManyProperties"),
        (400, "SomethingNew"),
        (400, ""),
        (413, "RequestBodyTooLarge"),
        (413, ""),
    ],
)
def test_a_row_that_storage_does_not_take_is_rejected(fake: FakeTables, status: int, code: str) -> None:
    fake.answers(status, code)
    outcome = fake.destination.send(outgoing(), CUSTOMER)
    assert isinstance(outcome, Rejected)
    assert outcome.code == (code or str(status))
    said(repr(outcome))


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "after"),
    [
        (503, "ServerBusy", None, None),
        (503, "ServerBusy", "120", 120),
        (503, "", "3600", 3600),
        (429, "", "7", 7),
        (429, "", "soon", None),
        (429, "", "²", None),
        (500, "InternalError", None, None),
        (500, "OperationTimedOut", None, None),
        (502, "", None, None),
        (504, "", "30", 30),
        (408, "", None, None),
        (409, "TableBeingDeleted", None, None),
        (307, "", None, None),
    ],
)
def test_an_outage_is_a_retry_after_the_time_that_storage_names(
    fake: FakeTables, status: int, code: str, retry_after: str | None, after: float | None
) -> None:
    fake.answers(status, code, {"Retry-After": retry_after} if retry_after else {})
    with in_time():  # the schedule waits, not the attempt
        outcome = fake.destination.send(outgoing(), CUSTOMER)
        checked = fake.destination.check()
    no_answer = status in {408, 429} or status >= 500
    assert outcome == Retry(code or str(status), after, ours=no_answer), "the account is the app's own"
    assert (checked.ok, checked.transient) == (False, True)
    assert [method for method, _ in fake.seen].count("POST") == 1, "and it is the schedule that tries again"
    said(repr(outcome), repr(checked))


def test_a_connection_that_breaks_is_a_retry() -> None:
    def break_them(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.recv(1024)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=break_them, args=(listening,), daemon=True).start()
        destination = table_of(at(listening.getsockname()[1]))
        assert isinstance(destination.send(outgoing(), CUSTOMER), Retry)
        assert destination.check().transient


# --- The check --------------------------------------------------------------------------------------------------------


def test_a_check_makes_no_table_and_writes_no_row(fresh_storage: str) -> None:
    destination = table_of(fresh_storage)
    assert destination.check().ok, "the table is made with the first lead"
    assert tables(fresh_storage) == []
    destination.send(outgoing(), CUSTOMER)
    before = rows(fresh_storage)
    assert destination.check().ok
    assert rows(fresh_storage) == before


@pytest.mark.parametrize(("code", "ok"), [("TableNotFound", True), ("ResourceNotFound", False), ("", False)])
def test_only_a_table_that_is_missing_is_made_with_the_first_lead(fake: FakeTables, code: str, ok: bool) -> None:
    fake.answers(404, code)
    assert fake.destination.check().ok is ok


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AuthenticationFailed"), (503, "ServerBusy"), (404, "TableNotFound")]
)
def test_whatever_storage_answers_a_check_only_reads(fake: FakeTables, status: int, code: str) -> None:
    fake.answers(status, code)
    fake.destination.check()
    assert fake.seen
    assert not {method for method, _ in fake.seen} & WRITING


# --- In the pipeline --------------------------------------------------------------------------------------------------


def key_vault_holds(versions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Key Vault gives the last of these values."""
    read = lambda self, name: KeptSecret(versions[-1], None)  # noqa: E731
    monkeypatch.setattr(Secrets, "_read_key_vault", read)


@pytest.mark.parametrize(
    ("is_cached", "before"), [(True, State.RETRY), (False, State.PARKED)], ids=["cached", "refused"]
)
def test_a_secret_that_was_rotated_in_key_vault_is_read_again_before_a_refusal_is_believed_and_heals_a_paused_connection(
    pipeline: Pipeline,
    another_account: str,
    monkeypatch: pytest.MonkeyPatch,
    is_cached: bool,
    before: State,
) -> None:
    kept = [with_key(another_account, KEY)]
    key_vault_holds(kept, monkeypatch)
    pipeline.offer({"name": "table", "type": "azure_table", "settings": {"connection_string": "keyvault:crm"}})
    if is_cached:
        pipeline.app.secrets.read("keyvault:crm")
        kept.append(another_account)
    lead_id = pipeline.post()
    pipeline.run()
    assert pipeline.delivery(lead_id, "table").state is before
    assert any(connection.paused for connection in pipeline.app.connections.stored()) is not is_cached
    kept.append(another_account)
    pipeline.tick(2)
    assert pipeline.delivery(lead_id, "table").state is State.DELIVERED
