"""Every command against the storage directly and against the deployed app: the same output, the same status."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.data.tables import TableServiceClient

from leads.cli.environment import KEY_VARIABLE, TOKEN_VARIABLE
from leads.cli.program import FOR_NO_APP
from leads.operations import doctor
from tests.support.command_line import (
    Ran,
    Run,
    at_a_terminal,
    command_names,
    ctrl_c_during_the_answer,
    one_line,
    process,
    run_against,
)
from tests.support.pipeline import a_lead
from tests.support.running_app import PERSONAL_DATA_OVER_HTTP, RunningApp, running_app

TABLE = {"name": "table", "type": "azure_table"}
OTHER = {"name": "other", "type": "azure_table", "settings": {"table": "OtherLeads"}}
OFFER = {"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": [TABLE, OTHER]}

HINTED_APP = re.compile(r" --app http://127\.0\.0\.1:\d+")
# What is another one at every moment: times, ids that hold one, and how long something took.
MOMENTS = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?|\d\d/\d\d/\d{4} \d\d:\d\d:\d\d|MSFT_TEST_\d+"
    r"|\d{17}-[0-9a-f]{12}-[0-9a-f]|\d+(\.\d+)? m?s\b|\"milliseconds\": \d+|datetime[^\"]*|\"\d{8}\"| {2,}"
)


def same(ran: Ran) -> tuple[int, list[str], list[str]]:
    """What has to be the same: the lines in any order, because two destinations may settle in either.

    Moments differ, and a hint names the app that its command was sent to.
    """
    out, err = (sorted(MOMENTS.sub("~", HINTED_APP.sub("", text)).splitlines()) for text in (ran.out, ran.err))
    return ran.status, out, err


@pytest.fixture
def app(fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApp]:
    monkeypatch.setenv("LeadsStorage", fresh_storage)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    # `watch` makes some of them at the next full minute: doctor would find others over HTTP than directly before.
    with TableServiceClient.from_connection_string(fresh_storage) as service:
        for table in doctor.TABLES:
            service.create_table(table)
    with running_app(fresh_storage, settings=PERSONAL_DATA_OVER_HTTP) as running:
        monkeypatch.setenv(KEY_VARIABLE, running.host.function_keys["manage"])
        yield running


@pytest.fixture(scope="module")
def shared_app(shared_storage: str) -> Iterator[RunningApp]:
    """For tests with leads and offers of their own. It answers no personal data."""
    with running_app(shared_storage) as running:
        yield running


@pytest.fixture
def directly(capsys: pytest.CaptureFixture[str]) -> Run:
    return run_against(capsys)


@pytest.fixture
def deployed(app: RunningApp, capsys: pytest.CaptureFixture[str]) -> Run:
    return run_against(capsys, "--app", app.host.base_url)


def test_every_command_says_the_same_directly_and_over_http(
    app: RunningApp, directly: Run, deployed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, changed = tmp_path / "offer.json", tmp_path / "changed.yaml"
    file.write_text(json.dumps(OFFER))
    changed.write_text(json.dumps(OFFER | {"titles": ["Contoso CRM", "New"]}))
    tried: list[str] = []

    def both(status: int, *arguments: str, undo: tuple[str, ...] = (), typed: str = "") -> Ran:
        """Run it both ways, with `undo` in between; `typed` is on standard input."""
        tried.append(" ".join(arguments))
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        one = directly(*arguments)
        if undo:
            assert directly(*undo).status == 0
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        other = deployed(*arguments)
        assert same(other) == same(one)
        assert other.status == status, other
        return other

    remove, reset = ("offers", "remove", "contoso.crm", "--yes"), ("offers", "set", str(file))
    both(5, "status")
    both(0, "offers", "list")
    both(0, "connections", "list")
    both(0, *reset, undo=remove)
    assert both(5, "offers", "apply", str(changed), "--dry-run").out
    both(0, "offers", "apply", str(changed), "--yes", undo=reset)
    third = ("--type", "azure_table", "--name", "third", "--set", "table=Third", "--validate", "--yes")
    both(0, "offers", "connect", "contoso.crm", *third, undo=reset)
    directly(*reset)
    both(0, "offers", "show", "contoso.crm")
    both(0, "offers", "list", "--json")
    both(0, "offers", "types")
    both(0, "offers", "types", "webhook")
    both(0, "offers", "validate", "contoso.crm")
    both(0, "offers", "validate", "contoso.crm", "--file", str(file), "--json")
    both(0, "offers", "preview", "contoso.crm", "--action", "PLT")
    both(0, "offers", "preview", "contoso.crm", "--file", str(changed), "--json")
    assert both(0, "offers", "test", "contoso.crm", "--action", "Create").out.endswith("The test lead has arrived.\n")
    lead = app.post(a_lead()).json()["lead_id"]
    app.wait_for(lead, "delivered")
    assert "initial_interest   1" in both(0, "report", "--days", "3").out
    both(0, "report", "--days", "3", "--json")
    both(0, "leads", "list", "--offer", "contoso.crm", "--limit", "2")
    both(0, "leads", "list", "--json")
    both(0, "leads", "show", lead)
    assert "ada@example.com" in both(0, "leads", "show", lead, "--person").out
    assert "ada@example.com" in both(0, "export", "--offer", "contoso.crm").out
    assert "Example Works" in both(0, "access", typed="ada@example.com").out
    assert lead in both(0, "erase", "--dry-run", typed="ada@example.com").out
    with ctrl_c_during_the_answer():
        assert lead in both(0, "leads", "list", "--follow", "--json").out
    both(0, "status")
    both(0, "doctor", "--all")
    connection = json.loads(both(0, "connections", "list", "--json").out)[0]["id"]
    both(0, "connections", "show", connection)
    pause, resume = (("connections", verb, connection) for verb in ("pause", "resume"))
    both(0, *pause, "--note", "until six", undo=resume)
    both(5, "status", "--json")
    both(0, *resume, undo=(*pause, "--note", "once more"))
    rows = tmp_path / "leads.csv"
    rows.write_text("Email,ActionCode,Offer name,CreatedTime,Note\nnew@example.com,PLT,Contoso CRM,2026-01-31,x\n")
    both(0, "import", "csv", str(rows), "--dry-run")
    both(5, "reconcile", str(rows), "--json")
    both(0, "import", "table", "--dry-run")
    both(2, "import", "table", "--table", "NoSuchTable")
    both(5, "replay", lead)
    both(0, "replay", lead, "--force", "--dry-run", "--json")
    both(0, "replay", "--offer", "contoso.crm", "--yes")
    both(2, "replay", "--since", "1h", "--until", "2h")
    both(1, "offers", "show", "nope")
    both(1, "offers", "types", "nope")
    both(1, "connections", "show", "nope")
    both(1, "connections", "resume", "nope")
    both(1, "leads", "show", "12")
    both(2, "leads", "list", "--state", "done")
    both(2, "offers", "preview", "--lead", str(tmp_path / "missing"))
    both(0, *remove, undo=reset)
    both(5, "dismiss", lead, "--note", "nobody will repair it", "--dry-run")
    listed = both(0, "audit").out
    assert [who for who in ("shell", "key") if who in listed] == ["shell", "key"]
    both(0, "audit", "--json", "--limit", "3")
    tried.append("whoami")
    assert [run("whoami").out.splitlines()[0] for run in (directly, deployed)] == [
        "level          personal: everything, personal data included"
    ] * 2
    to_try = set(command_names()) - FOR_NO_APP
    assert {name for name in to_try if not any(words.startswith(name) for words in tried)} == set()


def test_who_is_second_over_http_is_told_as_well(
    shared_app: RunningApp, shared_storage: str, directly: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The difference is on the screen when somebody else saves."""
    monkeypatch.setenv("LeadsStorage", shared_storage)
    file, theirs = tmp_path / "offer.json", tmp_path / "theirs.json"
    file.write_text(json.dumps(OFFER | {"titles": ["Ours"]}))
    theirs.write_text(json.dumps(OFFER | {"titles": ["Theirs"]}))
    directly("offers", "set", str(theirs))
    settings = {KEY_VARIABLE: shared_app.host.function_keys["manage"]}
    arguments = ("--app", shared_app.host.base_url, "offers", "apply", str(file))
    with at_a_terminal(*arguments, environment=settings) as terminal:
        terminal.wait_for(f'titles: ["Theirs"] -> ["Ours"]\n{shared_app.host.base_url}: Save this? [y/N]: ')
        theirs.write_text(json.dumps(OFFER | {"titles": ["Theirs", "too"]}))
        directly("offers", "set", str(theirs))
        terminal.type("y")
        terminal.wait_for("contoso.crm: the offer changed since it was read, so nothing was saved.")
        assert terminal.end() == 4
    assert json.loads(directly("offers", "show", "contoso.crm").out)["titles"] == ["Theirs", "too"]


def test_personal_data_stays_with_who_may_read_the_storage_unless_a_setting_says_otherwise(
    shared_app: RunningApp,
    shared_storage: str,
    directly: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LeadsStorage", shared_storage)
    monkeypatch.setenv(KEY_VARIABLE, shared_app.host.function_keys["manage"])
    deployed = run_against(capsys, "--app", shared_app.host.base_url)
    lead = shared_app.post(a_lead(OfferTitle="unknown")).json()["lead_id"]
    shared_app.wait_for(lead, "unrouted")
    for command in (("leads", "show", lead, "--person"), ("access",), ("export", "--format", "jsonl")):
        monkeypatch.setattr(sys, "stdin", io.StringIO("ada@example.com"))
        assert "ada@example.com" in directly(*command).out
        monkeypatch.setattr(sys, "stdin", io.StringIO("ada@example.com"))
        refused = one_line(deployed(*command), 2)
        assert refused.startswith("The app answers no personal data over HTTP")
        assert "LEADS_PERSONAL_DATA_OVER_HTTP" in refused
    assert deployed("export").out == ""
    assert "not shown, because the app setting LEADS_PERSONAL_DATA_OVER_HTTP is not true" in deployed("whoami").out
    monkeypatch.setattr(sys, "stdin", io.StringIO("ada@example.com"))
    erased = deployed("erase", "--yes")
    status = shared_app.call("GET", f"/api/status/{lead}").json()
    assert (erased.status, status["lead_id"], status["state"]) == (0, lead, "erased")
    assert "ada@example.com" not in erased.out + shared_app.host.log


def test_the_key_is_asked_for_and_not_shown_and_that_of_another_function_opens_nothing(
    shared_app: RunningApp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, keys = shared_app.host.base_url, shared_app.host.function_keys
    with at_a_terminal("--app", url, "whoami", environment={}) as terminal:
        terminal.wait_for("Key of the function manage: ")
        terminal.type(keys["manage"])
        terminal.wait_for("personal: everything")
        assert terminal.end() == 0
        assert keys["manage"] not in terminal.shown
    run = run_against(capsys, "--app", url)
    for function in ("accept_lead", "lead_status"):
        monkeypatch.setenv(KEY_VARIABLE, keys[function])
        line = one_line(run("status"), 3)
        assert line.startswith(f"{url} refuses the key (401); use the key of the function manage: az functionapp ")
        assert keys[function] not in line
    nobody_to_ask = process("status", environment={"LEADS_APP_URL": url})
    assert one_line(nobody_to_ask, 2).startswith("LEADS_APP_KEY: set it to the key of the function manage")


def test_an_app_whose_storage_is_out_of_reach_says_so(
    fresh_storage: str, directly: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The host's own account stays in reach: without it the real one does not serve at all.
    with running_app(_nowhere(), settings={"AzureWebJobsStorage": fresh_storage}, only_http=True) as lost:
        monkeypatch.setenv(KEY_VARIABLE, lost.host.key)
        deployed = run_against(capsys, "--app", lost.host.base_url)
        ran, examined = deployed("offers", "list"), deployed("doctor")
    assert one_line(ran, 3) == "Storage did not answer. Ask again."
    assert (examined.status, examined.err) == (5, "")
    monkeypatch.setenv("LeadsStorage", _nowhere())
    assert directly("doctor").out == examined.out
    assert re.search(r"queues +leads, leads-poison, leads-notices +the storage account does not answer", examined.out)


def _nowhere() -> str:
    endpoints = "".join(f"{kind}Endpoint=http://127.0.0.1:1/a;" for kind in ("Table", "Queue", "Blob"))
    return f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;{endpoints}"
