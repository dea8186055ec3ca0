"""`doctor`: each problem is a finding with a remedy, and does not stop the other checks."""

from __future__ import annotations

import ast
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import azure.identity
import pytest
from azure.core.exceptions import ClientAuthenticationError

from leads.app import examined_app
from leads.operations import doctor
from leads.operations.doctor import QUEUES, TABLES, Diagnosis, examine_deployment
from leads.operations.findings import Area, Finding, Level
from leads.operations.operation import Nothing
from leads.platform.build import Build
from leads.platform.storage import make_table
from tests.support.command_line import Run
from tests.support.markers import found_in
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import Vendor

LEADS = Path(__file__).parents[2] / "leads"


def examined() -> Diagnosis:
    found = examine_deployment(examined_app(), Nothing())
    assert not found_in(found.model_dump_json())
    assert all(finding.remedy for finding in found.findings if finding.level is Level.WRONG)
    assert found.needs_a_person is any(finding.level is Level.WRONG for finding in found.findings)
    return found


def of(found: Diagnosis, area: Area, level: Level | None = None) -> list[Finding]:
    return [finding for finding in found.findings if finding.area is area and level in {None, finding.level}]


def only(found: Diagnosis, area: Area, level: Level) -> Finding:
    (finding,) = of(found, area, level)
    return finding


@pytest.fixture
def well(routed: Pipeline, vendor: Vendor) -> Pipeline:
    """A deployment that has delivered a lead, and whose timers run."""
    routed.post()
    routed.run()
    routed.clock.time = routed.clock.time.replace(minute=45)
    routed.watch()
    routed.app.poison.put("x")  # what the host makes
    (message,) = routed.app.poison.receive(1, 1)
    routed.app.poison.delete(message)
    routed.app.notices.put("x")
    for name in TABLES:
        make_table(routed.app.storage.table(name).client)
    return routed


# --- A healthy deployment -----------------------------------------------------------------------------------------------


def test_a_deployment_that_is_well_has_nothing_to_say(well: Pipeline, run: Run) -> None:
    found = examined()
    assert [finding for finding in found.findings if finding.level is not Level.FINE] == []
    assert {finding.area for finding in found.findings} == set(Area) - {Area.IDENTITY, Area.SECRETS}
    ran = run("doctor")
    assert ran.status == 0
    assert ran.out.startswith("0 wrong, 0 to note, ")
    assert ran.err == ""
    assert "LeadLedger" in run("doctor", "--all").out


def test_a_deployed_build_that_is_not_the_tested_package_is_noted(
    well: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBSITE_HOSTNAME", "leads.example.com")
    (found,) = [finding for finding in examined().findings if finding.about == "release"]
    assert (found.level, found.remedy) == (Level.NOTE, "publish the package of `make package`")
    build = Build("1.0.0", "0123456789abcdef", {"requests": "2.34.2"})
    monkeypatch.setattr(doctor, "this_build", lambda: build)
    (found,) = [finding for finding in examined().findings if finding.about == "release"]
    assert (found.level, "1.0.0 (0123456789ab)" in found.says) == (Level.FINE, True)


def test_looking_changes_nothing_and_makes_nothing(pipeline: Pipeline, vendor: Vendor) -> None:
    found = examined()
    assert {finding.about for finding in of(found, Area.QUEUES, Level.NOTE)} == {", ".join(QUEUES)}
    assert {finding.about for finding in of(found, Area.TABLES, Level.NOTE)} == {", ".join(TABLES)}
    assert examined().findings == found.findings
    assert all(pipeline.app.storage.queue(name).count() is None for name in QUEUES)
    assert not any(pipeline.app.storage.table(name).exists() for name in TABLES)


def test_a_message_on_the_queue_stays_there(routed: Pipeline) -> None:
    routed.post()
    examined()
    assert len(routed.messages()) == 1


def test_every_queue_and_table_of_the_product_is_looked_at() -> None:
    named = set()
    for path in LEADS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            target, value = _assigned(node)
            if target.endswith(("_QUEUE", "_TABLE")) and isinstance(value, ast.Constant):
                named.add(value.value)
    assert named == {*QUEUES, *TABLES}


def _assigned(node: ast.AST) -> tuple[str, ast.expr | None]:
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return (target.id if isinstance(target, ast.Name) else ""), getattr(node, "value", None)


def test_what_hangs_is_noted_once_the_time_is_over_and_the_rest_is_looked_at(
    well: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()
    monkeypatch.setattr("leads.platform.storage.Queue.count", lambda _: end.wait(60))
    monkeypatch.setattr("leads.operations.doctor.EXAMINATION_SECONDS", 0)
    found = examined()
    end.set()
    assert "were not done in time" in only(found, Area.TABLES, Level.NOTE).says
    assert of(found, Area.SETTINGS) and of(found, Area.OFFERS)


# --- Settings -----------------------------------------------------------------------------------------------------------


def test_every_wrong_setting_is_named_with_what_it_means(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADS_KEY_VAULT_URI", "s3cret")
    monkeypatch.setenv("LEADS_NOTIFY_WEBHOOK", "https://s3cret.example.com")
    monkeypatch.setenv("LEADS_KEYVAULT_URI", "https://kv.vault.azure.net")
    found = examined()
    wrong = of(found, Area.SETTINGS, Level.WRONG)
    assert [finding.about for finding in wrong] == ["LEADS_KEY_VAULT_URI", "LEADS_NOTIFY_WEBHOOK"]
    assert "https://" in wrong[0].says
    assert "503" in wrong[0].remedy
    misspelt = only(found, Area.SETTINGS, Level.NOTE)
    assert (misspelt.about, misspelt.remedy) == ("LEADS_KEYVAULT_URI", "did you mean LEADS_KEY_VAULT_URI?")
    assert of(found, Area.QUEUES), "what is right is used all the same"


def test_without_any_storage_the_other_checks_run(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.delenv("LeadsStorage")
    found = examined()
    assert only(found, Area.SETTINGS, Level.WRONG).says == "no storage is configured"
    assert "can't be read" in only(found, Area.OFFERS, Level.NOTE).says
    ran = run("doctor")
    assert ran.status == 5
    assert "wrong  settings  LeadsStorage  no storage is configured: set it to a connection string" in ran.out
    assert "Checked from this machine" in ran.err


def test_a_malformed_connection_string_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LeadsStorage", "AccountKey=s3cret")
    wrong = only(examined(), Area.SETTINGS, Level.WRONG)
    assert (wrong.about, wrong.says.split(":")[0]) == ("LeadsStorage", "is not a storage connection string")


def test_addresses_of_another_account_than_the_one_named_are_wrong(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LeadsStorage__accountName", "contosoleads")
    monkeypatch.setenv("LeadsStorage__queueServiceUri", "https://elsewhere.queue.core.windows.net")
    wrong = of(examined(), Area.SETTINGS)[0]
    assert (wrong.level, wrong.about) == (Level.WRONG, "LeadsStorage__queueServiceUri")
    assert "is of another account" in wrong.says


def test_a_connection_string_beside_an_account_is_noted(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LeadsStorage__accountName", "contosoleads")
    assert "the connection string is used" in only(examined(), Area.SETTINGS, Level.NOTE).says


# --- Identity and storage -----------------------------------------------------------------------------------------------


def test_an_identity_without_a_token_is_the_only_finding_on_storage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoIdentity:
        def __init__(self, **options: Any) -> None:
            pass

        def get_token(self, *scopes: str) -> None:
            raise ClientAuthenticationError("s3cret")

    monkeypatch.setattr(azure.identity, "ManagedIdentityCredential", NoIdentity)
    monkeypatch.setenv("LeadsStorage__accountName", "contosoleads")
    monkeypatch.setenv("LeadsStorage__credential", "managedidentity")
    found = examined()
    wrong = only(found, Area.IDENTITY, Level.WRONG)
    assert (wrong.about, wrong.says) == ("managed identity", "there is no Azure login (ClientAuthenticationError)")
    assert "LeadsStorage__clientId" in wrong.remedy
    assert not of(found, Area.QUEUES)
    assert not of(found, Area.TABLES)


@pytest.mark.storage("azurite")
def test_a_wrong_key_is_one_finding_for_all_queues_and_one_for_all_tables(
    fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _, after = fresh_storage.partition("AccountKey=")
    monkeypatch.setenv("LeadsStorage", f"{before}AccountKey=c2VjcmV0;{after.partition(';')[2]}")
    found = examined()
    for area, names in ((Area.QUEUES, QUEUES), (Area.TABLES, TABLES)):
        wrong = only(found, area, Level.WRONG)
        assert wrong.about == ", ".join(names)
        assert wrong.says.startswith("the storage account refuses (403 ")
        assert "check the key" in wrong.remedy


class _Account(BaseHTTPRequestHandler):
    """A storage account that refuses with `code`, because the identity lacks the role to read or to write."""

    code = "AuthorizationPermissionMismatch"
    reads = True

    def do_GET(self) -> None:
        if self.reads:
            self._answer(200, b'{"value":[]}', **{"x-ms-approximate-messages-count": "0"})
        else:
            self.do_DELETE()

    def do_DELETE(self) -> None:
        self._answer(403, b"", **{"x-ms-error-code": self.code})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Account]]:
    """The app's storage is a fake account."""

    class Handler(_Account):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}/a"
    text = f"AccountName=a;AccountKey=c2VjcmV0;TableEndpoint={endpoint};QueueEndpoint={endpoint}"
    monkeypatch.setenv("LeadsStorage", text)
    yield Handler
    server.shutdown()
    server.server_close()


def test_a_role_that_only_reads_is_found_out_without_writing_anything(account: type[_Account]) -> None:
    found = examined()
    for area in (Area.QUEUES, Area.TABLES):
        wrong = only(found, area, Level.WRONG)
        assert wrong.says == "the storage account refuses (403 AuthorizationPermissionMismatch)"
        assert "Storage Table Data Contributor and Storage Queue Data Contributor" in wrong.remedy
        assert "ten minutes" in wrong.remedy


def test_an_account_without_keys_asks_for_the_identity(account: type[_Account]) -> None:
    account.reads, account.code = False, "KeyBasedAuthenticationNotPermitted"
    wrong = only(examined(), Area.QUEUES, Level.WRONG)
    assert "set LeadsStorage__accountName and LeadsStorage__credential" in wrong.remedy


# --- Offers and secrets -------------------------------------------------------------------------------------------------


def test_without_an_offer_every_lead_waits(pipeline: Pipeline) -> None:
    pipeline.post()
    pipeline.run()
    assert "every lead waits" in only(examined(), Area.OFFERS, Level.WRONG).says


def test_an_offer_that_can_not_be_read_is_named_and_the_others_are_looked_at(routed: Pipeline) -> None:
    row = {"PartitionKey": "offer", "RowKey": "old.one", "changed_at": routed.clock.time, "offer": '{"id": 1}'}
    routed.app.storage.table("LeadOffers").write([("create", row, {})])
    found = examined()
    wrong = only(found, Area.OFFERS, Level.WRONG)
    assert wrong.about == "old.one"
    assert wrong.remedy.startswith("python -m leads offers remove 'old.one'")
    assert only(found, Area.CONNECTIONS, Level.FINE).says == "works"


def a_table(name: str, reference: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "azure_table", "settings": {"connection_string": reference}, **more}


def test_a_secret_that_is_not_there_is_named_and_its_connection_is_not_asked(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(a_table("one", "env:LEADS_SECRET_ERP"), a_table("two", "keyvault:erp"))
    found = examined()
    wrong = {finding.about: finding for finding in of(found, Area.SECRETS, Level.WRONG)}
    assert wrong.keys() == {"contoso.crm one: connection_string", "contoso.crm two: connection_string"}
    assert "LEADS_SECRET_ERP is missing or empty" in wrong["contoso.crm one: connection_string"].says
    assert "LEADS_KEY_VAULT_URI" in wrong["contoso.crm two: connection_string"].says
    assert "Key Vault Secrets User" in wrong["contoso.crm two: connection_string"].remedy
    assert {finding.says for finding in of(found, Area.CONNECTIONS)} == {"not checked, because a secret can't be read"}
    monkeypatch.setenv("LEADS_SECRET_ERP", "UseDevelopmentStorage=true")
    assert not of(examined(), Area.SETTINGS, Level.NOTE), "a secret may be named like a setting"


def test_settings_that_offers_may_not_name_are_found_with_the_remedy(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_ALLOWED_SETTINGS", "CHAT")
    monkeypatch.setenv("ERP", "UseDevelopmentStorage=true")
    pipeline.offer(
        a_table("one", "env:ERP"),
        a_table("own", "env:LeadsStorage"),
        a_table("new", "env:LEADS_SECRET_NEW"),
        announce={"webhook": "env:IDENTITY_HEADER"},
    )
    wrong = {finding.about: finding for finding in of(examined(), Area.SECRETS, Level.WRONG)}
    assert wrong["contoso.crm one: connection_string"].says.startswith("env:ERP is not read: ")
    assert "set LEADS_ALLOWED_SETTINGS=CHAT,ERP,IDENTITY_HEADER where" in wrong["contoso.crm: announce.webhook"].remedy
    assert "is missing or empty" in wrong["contoso.crm new: connection_string"].says
    assert len(wrong) == 3, "the app's own account is none"
    monkeypatch.setenv("LEADS_ALLOWED_SETTINGS", "CHAT,ERP")
    assert "contoso.crm one: connection_string" not in {one.about for one in of(examined(), Area.SECRETS, Level.WRONG)}


def test_a_secret_that_has_expired_and_one_that_soon_will(
    pipeline: Pipeline, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_SECRET_ERP", fresh_storage)
    day = pipeline.clock.time.date()
    expires = [day - timedelta(days=3), day + timedelta(days=20), day + timedelta(days=40)]
    names = ("gone", "soon", "later")
    pipeline.offer(
        *(
            a_table(name, "env:LEADS_SECRET_ERP", secret_expires={"connection_string": at.isoformat()})
            for name, at in zip(names, expires, strict=True)
        )
    )
    wrong = of(examined(), Area.SECRETS, Level.WRONG)
    assert [(finding.about, finding.says) for finding in wrong] == [
        ("contoso.crm gone: connection_string", f"expired on {expires[0]}"),
        ("contoso.crm soon: connection_string", f"expires on {expires[1]}"),
    ]
    assert wrong[0].remedy == "renew the secret and store it where env:LEADS_SECRET_ERP points"


def test_the_webhooks_of_alarms_and_announcements_are_secrets_too(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_NOTIFY_WEBHOOK", "env:ALARMS")
    pipeline.offer(crm(vendor.url), announce={"webhook": "env:LEADS_SECRET_CHAT"})
    wrong = {finding.about for finding in of(examined(), Area.SECRETS, Level.WRONG)}
    assert wrong == {"LEADS_NOTIFY_WEBHOOK", "contoso.crm: announce.webhook"}


# --- Connections and the app --------------------------------------------------------------------------------------------


def test_a_connection_whose_check_fails_says_what_to_change(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    vendor.checked["problem"] += "."  # most vendors' problems are sentences
    wrong = only(examined(), Area.CONNECTIONS, Level.WRONG)
    assert wrong.says == "the secret has expired: make a new one (401)"
    assert wrong.about.endswith(" (recording; contoso.crm crm)")
    assert not vendor.calls, "no lead was sent"


def test_a_vendor_that_is_down_needs_nobody(well: Pipeline, vendor: Vendor) -> None:
    vendor.fails()
    found = examined()
    assert "no lead is lost" in only(found, Area.CONNECTIONS, Level.NOTE).remedy
    assert not found.needs_a_person


def test_a_connection_that_a_person_has_paused_calls_for_one(routed: Pipeline, vendor: Vendor, run: Run) -> None:
    routed.post(a_lead())
    routed.run()
    (connection,) = [known.id for known in routed.app.connections.stored()]
    run("connections", "pause", connection, "--note", "maintenance")
    wrong = only(examined(), Area.CONNECTIONS, Level.WRONG)
    assert wrong.says == "a person has paused it: maintenance"
    assert wrong.remedy == f"python -m leads connections resume {connection}"


def test_a_mended_connection_that_is_still_paused_opens_by_itself(well: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    well.post(a_lead("2@example.com"))
    well.run()
    vendor.works()
    noted = only(examined(), Area.CONNECTIONS, Level.NOTE)
    assert noted.says == "works, and is still paused"


def test_timers_that_do_not_run_are_found_out(well: Pipeline) -> None:
    well.clock.time += timedelta(hours=1)
    wrong = only(examined(), Area.APP, Level.WRONG)
    assert wrong.says.startswith("has not run since ")


def test_what_made_the_worker_fail_is_noted_while_it_lies_there(well: Pipeline) -> None:
    well.app.poison.put("what nobody drains")
    assert only(examined(), Area.QUEUES, Level.NOTE).says == "holds 1 message that made the worker fail"


# --- Together -----------------------------------------------------------------------------------------------------------


def test_json_says_the_same(run: Run, routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    ran = run("doctor", "--json")
    assert ran.status == 5
    told = json.loads(ran.out)
    assert told["needs_a_person"] is True
    assert [finding["level"] for finding in told["findings"]] == sorted(
        (finding["level"] for finding in told["findings"]), key=["wrong", "note", "fine"].index
    )
