"""Export of leads by offer, state and time, at the shell; continued after an interruption; flat in memory."""

from __future__ import annotations

import csv
import json
import os
import shlex
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from leads.cli.transport import StorageTransport
from leads.core.wording import counted
from leads.operations import export as steps
from leads.operations.export import Export, export_leads
from leads.operations.problems import Invalid
from tests.chaos.every_request import KillAt
from tests.support.command_line import Run, one_line, process
from tests.support.killed_command import is_killed
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import REJECTED, Vendor

LEADS = 6


@pytest.fixture
def filled(pipeline: Pipeline, vendor: Vendor) -> dict[str, str]:
    """Leads of several offers and states, by name."""
    pipeline.offer(crm(vendor.url))
    pipeline.offer(crm(vendor.url), offer_id="fabrikam.erp", titles=["ERP"])
    found = {"old": pipeline.post(a_lead("old@example.com"))}
    pipeline.run()
    pipeline.clock.time += timedelta(days=2)
    found["new"] = pipeline.post(a_lead("new@example.com", Description="=1+1"))
    found["large"] = pipeline.post(a_lead("large@example.com", Description="x" * 60_000))
    pipeline.run()
    vendor.answer = lambda call: REJECTED
    found["refused"] = pipeline.post(a_lead("refused@example.com", OfferTitle="erp"))
    found["unrouted"] = pipeline.post(a_lead("unrouted@example.com", OfferTitle="Nobody's"))
    pipeline.run()
    found["unreadable"] = pipeline.app.incoming.keep_unreadable(b"{not JSON", "it can't be read")
    assert len(found) == LEADS
    return found


def exported(run: Run, *arguments: str) -> dict[str, dict[str, Any]]:
    done = run("export", "--format", "jsonl", *arguments)
    assert done.status == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert done.err == f"{counted(len(lines), 'lead')}\n"
    return {line["lead_id"]: line for line in lines}


def test_by_offer_state_and_time(run: Run, filled: dict[str, str]) -> None:
    names = {lead_id: name for name, lead_id in filled.items()}

    def found(*arguments: str) -> set[str]:
        return {names[lead_id] for lead_id in exported(run, *arguments)}

    assert found() == set(filled)
    assert found("--offer", "Contoso.CRM") == {"old", "new", "large"}
    assert found("--offer", "fabrikam.erp") == found("--state", "dead_letter") == {"refused"}
    assert found("--offer", "-") == {"unrouted", "unreadable"}
    assert found("--until", "1d") == {"old"}
    assert found("--since", "1d", "--state", "delivered") == {"new", "large"}


def test_a_line_holds_what_the_lead_says_and_what_became_of_it(run: Run, filled: dict[str, str]) -> None:
    lines = exported(run)
    assert lines[filled["large"]]["description"] == "x" * 60_000
    assert lines[filled["unreadable"]]["body"] == "{not JSON"
    assert lines[filled["new"]] | {"received_at": ""} == lines[filled["new"]] | {
        "email": "new@example.com", "country_code": "US", "phone": "16175555555", "received_at": "",
        "deliveries": [{"destination": "crm", "state": "delivered", "record_id": filled["new"], "reason": ""}],
    }  # fmt: skip


def test_a_csv_file_is_only_its_owners_and_holds_no_formula(run: Run, filled: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "leads.csv"
    assert run("export", "--output", str(file)).status == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = {row["lead_id"]: row for row in csv.DictReader(text)}
    assert rows.keys() == set(filled.values())
    assert rows[filled["new"]]["description"] == "'=1+1"
    assert run("export", "--format", "csv").out.startswith('"lead_id","received_at"')


def test_a_file_that_is_there_already_is_replaced_only_if_that_is_asked_for(
    run: Run, filled: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "leads.csv"
    file.write_text("mine")
    line = one_line(run("export", "--output", str(file)), 2)
    assert line == f"--yes: is needed, because this is not a terminal: {file} exists. Replace it?"
    assert run("export", "--output", str(file), "--dry-run").status == 0
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("leads.csv", "mine")]
    assert run("export", "--output", str(file), "--yes").status == 0
    assert filled["new"] in file.read_text()


def test_a_dry_run_counts(run: Run, filled: dict[str, str], tmp_path: Path) -> None:
    done = run("export", "--dry-run", "--output", str(tmp_path / "x.csv"))
    assert (done.status, done.out, done.err) == (0, "", f"{len(filled)} leads would be exported\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.storage("memory", "azurite")
def test_step_after_step_each_lead_comes_once(
    run: Run, filled: dict[str, str], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "LEADS_A_STEP", 1)
    assert exported(run).keys() == set(filled.values())
    found, after = [], ""
    while True:
        page = pipeline.ask(export_leads, Export(after=after))
        found += [lead["lead_id"] for lead in page.leads]
        if page.next is None:
            break
        after = page.next
    assert sorted(found) == sorted(filled.values())


def test_cut_off_it_says_where_to_go_on_and_the_file_is_whole_then(
    run: Run, filled: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "LEADS_A_STEP", 2)
    whole, file = tmp_path / "whole.csv", tmp_path / "leads.csv"
    run("export", "--output", str(whole))
    real, calls = StorageTransport.ask, []

    def breaks(transport: StorageTransport, run: Any, request: Any) -> Any:
        calls.append(request)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(transport, run, request)

    monkeypatch.setattr(StorageTransport, "ask", breaks)
    cut = run("export", "--output", str(file))
    assert cut.status == 130
    assert not file.exists()
    going_on = cut.err.splitlines()[0].removeprefix("To continue: python -m leads ")
    assert run(*shlex.split(going_on)).status == 0
    assert file.read_bytes() == whole.read_bytes()


def test_wrong_options_of_an_export_are_one_line(run: Run, pipeline: Pipeline, tmp_path: Path) -> None:
    assert one_line(run("export", "--format", "xml"), 2).startswith("--format: ")
    assert one_line(run("export", "--since", "1d", "--until", "2d"), 2).startswith("since: ")
    missing = str(tmp_path / "no" / "x.csv")
    assert (
        one_line(run("export", "--output", missing), 2)
        == f"--output: {missing}.part can't be written (No such file or directory)"
    )
    device = tmp_path / "device"
    os.mkfifo(device)  # in place of /dev/null, which a failing test would replace
    for no_file in (str(tmp_path), str(device)):
        ran = run("export", "--output", no_file, "--yes")
        assert one_line(ran, 2) == f"--output: {no_file} is not a file; name a new file, or - for standard output"
    assert one_line(run("export", "--output", str(tmp_path / "x"), "--after", "0:"), 2).startswith("--after: ")
    for after in ("x", "0", "0:'", "g:"):
        with pytest.raises(Invalid, match=r"^after: "):
            pipeline.ask(export_leads, Export(after=after))


@pytest.mark.storage("azurite")
@pytest.mark.parametrize("number", [5, 16])
def test_killed_and_run_again_the_file_is_the_same(
    run: Run, filled: dict[str, str], fresh_storage: str, tmp_path: Path, number: int
) -> None:
    file = tmp_path / "leads.csv"
    arguments = ("export", "--output", str(file))
    assert is_killed(fresh_storage, KillAt(number, "before", "number"), *arguments)
    assert not file.exists()
    assert run(*arguments).status == 0
    with file.open(encoding="utf-8-sig", newline="") as text:
        assert {row["lead_id"] for row in csv.DictReader(text)} == set(filled.values())


@pytest.mark.server
def test_memory_stays_flat_however_many_leads_there_are(tmp_path: Path) -> None:
    sizes = (20_000, 200_000) if os.environ.get("WHOLE_SIZE") else (2_000, 20_000)
    words = (str(tmp_path), *map(str, sizes))
    done = process(*words, environment={}, python=("-m", "tests.support.made_up_ledger"))
    assert (done.status, done.err) == (0, "".join(f"{leads} leads\n" for leads in sizes))
    assert [sum(1 for _ in (tmp_path / f"{leads}.csv").open()) for leads in sizes] == [leads + 1 for leads in sizes]
    few, many = map(int, done.out.split())
    assert many - few < 16 * 1024, f"KiB: {few}, {many}"
