"""`make bench` still runs, and says what it promises to say. The numbers of such a small run mean nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import __main__ as bench
from benchmarks import bytecode, listing, side
from benchmarks.effort import TINY
from benchmarks.filled import PARKED_CONNECTION, filled
from benchmarks.report import Result, Row, Target, as_table, result, write_json
from benchmarks.rounds import compare, standard_error
from benchmarks.side import app_on
from benchmarks.typical import OFFER
from leads.core.states import State
from leads.ledger.queries import newest, todo
from leads.ledger.transactions import LEDGER_TABLE
from tests.devhost.conftest import Devhost
from tests.support.account import Account
from tools import package
from tools.azurite import Azurite

KEYS = {"what", "floor", "ours", "ratio", "target", "met"}
ROWS = {"intake": 3, "requests": 4, "listing": 3, "coldstart": 3, "memory": 1, "shell": 1}
"""How many each measurement gives."""


@pytest.fixture(scope="module", autouse=True)
def storages(_unused_accounts: Iterator[str]) -> Iterator[list[str]]:
    """The accounts of the measurements so far: all on one Azurite, beside hosts that are forked, which start sooner."""
    given: list[str] = []

    def shared(_: Path, accounts: int) -> Any:
        new = list(islice(_unused_accounts, accounts))
        given.extend(new)
        return nullcontext(SimpleNamespace(account_connection_strings=new))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side, "Azurite", shared)
        patch.setattr(side, "DevhostProcess", Devhost)
        yield given
    for storage in given:
        Account(storage).delete_queues()


@pytest.fixture(scope="module")
def ledgers() -> Iterator[list[str]]:
    """Accounts with a small and a large ledger."""
    with filled([TINY.ledger, TINY.ledger_large], TINY.parked) as made:
        yield made


@pytest.fixture(scope="module")
def tiny_run(ledgers: list[str]) -> dict[str, list[Result]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "filled", lambda *_: nullcontext(ledgers))
        return {name: bench.run([name], TINY) for name in ROWS}


def test_each_measurement_gives_its_rows(tiny_run: dict[str, list[Result]]) -> None:
    assert {name: len(results) for name, results in tiny_run.items()} == ROWS
    for item in (item for results in tiny_run.values() for item in results):
        assert item.row.ours > 0, item
        assert item.row.floor is not None and item.row.floor > 0, item
        assert item.row.ratio is not None and item.row.ratio > 0, item


def test_the_counts_hold_in_any_run(tiny_run: dict[str, list[Result]]) -> None:
    rows = {item.row.what: item.row for name in ("intake", "requests", "listing") for item in tiny_run[name]}
    counted = {what: row for what, row in rows.items() if "requests" in what}
    assert len(counted) == 8
    assert [what for what, row in counted.items() if not row.met] == []


def test_a_delivery_is_measured_on_both_sides_and_the_floor_writes_what_the_app_writes(storages: list[str]) -> None:
    """Else the comparison would be unfair: the same rows, with the same columns, of about the same length."""
    speed, work = bench.run(["delivery"], TINY)
    assert speed.row.floor and speed.row.ours and work.row.floor and work.row.ours
    ours, floor = (written_to(storage) for storage in storages[-2:])
    assert {kind: sorted(row) for kind, row in floor.items()} == {kind: sorted(row) for kind, row in ours.items()}
    lengths = [{kind: length_of(row) for kind, row in rows.items()} for rows in (ours, floor)]
    assert lengths[1] == {kind: pytest.approx(length, rel=0.03) for kind, length in lengths[0].items()}


def written_to(storage: str) -> dict[str, dict[str, Any]]:
    """A row of each kind that deliveries leave: the one of the median length, for storage may have been asked twice."""
    app = app_on(storage)
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in app.storage.table(LEDGER_TABLE).client.list_entities():
        kinds[row["RowKey"].partition(";")[0]].append(dict(row))
    kinds["delivered"] = [dict(row) for row in app.storage.table("MarketplaceLeads").client.list_entities()]
    return {kind: sorted(rows, key=length_of)[len(rows) // 2] for kind, rows in kinds.items()}


def length_of(row: dict[str, Any]) -> int:
    return len(json.dumps(row, default=str))


def test_the_log_is_counted_as_the_host_gets_it() -> None:
    rows = [item.row for item in bench.run(["logs"], TINY)]
    assert [row.ours > 0 for row in rows] == [True, True, False, False], "no check is due yet"
    assert all(row.met for row in rows)


def test_a_cold_start_is_measured_with_byte_code_in_each_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_module(name: str) -> Callable[..., None]:
        return lambda *arguments: arguments[-1].joinpath(f"{name}.py").write_text("numbers = list(range(1000))\n")

    monkeypatch.setattr(package, "install_packages", one_module("sdk"))
    monkeypatch.setattr(package, "copy_app", one_module("app"))
    monkeypatch.setattr(package, "APP", ("app.py", "host.json"))
    monkeypatch.setattr(bytecode, "APP", "import app, sdk")
    monkeypatch.setattr(bytecode, "FLOOR", "import sdk")
    rows = [item.row for item in bytecode.measure(TINY, lambda text: None)]
    assert [row.what.rpartition(" ")[2] for row in rows] == ["valid", "missing", "stale", "stale"]
    assert all(row.ours > 0 and row.floor for row in rows)


@pytest.mark.parametrize("name", ["waiting", "latency", "neighbour"])
def test_the_slower_measurements_run_too(name: str) -> None:
    assert [item.row.ours > 0 for item in bench.run([name], TINY)] == [True, True]


def test_a_measurement_has_an_azurite_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "Azurite", Azurite)
    assert [item.row.ours > 0 for item in bench.run(["import"], TINY)] == [True, True]


def test_a_vendor_is_measured_and_the_requests_are_as_few_as_promised() -> None:
    rows = [item.row for item in bench.run(["vendor"], TINY)]
    assert [row.ours for row in rows[:11]] == [2, 2, 1, 2, 2, 1, 1, 2, 1, 2, 3]
    assert all(row.met for row in rows[:11])
    assert all(row.ours > 0 and row.floor for row in rows[11:])
    assert len(rows) == 17


def test_the_json_has_the_promised_shape(tiny_run: dict[str, list[Result]], tmp_path: Path) -> None:
    results = [*tiny_run["intake"], result("alone", 0.5, Target("≤", 1, "ours"))]
    write_json(results, tmp_path / "latest.json")
    written = json.loads((tmp_path / "latest.json").read_text())
    assert list(written) == ["rows"]
    assert [set(row) for row in written["rows"]] == [KEYS] * len(results)
    alone = {"what": "alone", "floor": None, "ours": 0.5, "ratio": None, "target": "≤ 1", "met": True}
    assert written["rows"][-1] == alone
    assert as_table(results).row_count == len(results)


@pytest.mark.parametrize(
    ("target", "ours", "floor", "met"),
    [
        (Target("≥", 0.93), 93, 100, True),
        (Target("≥", 0.93), 92, 100, False),
        (Target("≤", 8), 800, 100, True),
        (Target("≤", 8), 801, 100, False),
        (Target("=", 1, "ours"), 1, None, True),
        (Target("=", 1, "ours"), 1.01, None, False),
        (Target("≤", 6, "ours"), 7, 7, False),
    ],
)
def test_a_target_is_met_or_not(target: Target, ours: float, floor: float | None, met: bool) -> None:
    assert result("x", ours, target, floor=floor).row.met is met


def test_rounds_go_to_and_fro_and_the_ratio_is_the_median_of_the_pairs() -> None:
    order: list[str] = []
    speeds = {"ours": iter([1.0, 2.0, 3.0, 400.0]), "floor": iter([1.0, 1.0, 1.0, 1.0])}

    def side(name: str) -> Any:
        def measure() -> list[float]:
            order.append(name)
            return [next(speeds[name])]

        return measure

    effort = replace(TINY, fewest_rounds=4)
    compared = compare(side("ours"), side("floor"), effort, lambda _: None)[0]
    assert order == ["ours", "floor", "floor", "ours", "ours", "floor", "floor", "ours"]
    assert (compared.ratio, compared.floor, compared.rounds) == (2.5, 1.0, 4)


def test_the_error_shrinks_with_the_rounds_and_ignores_one_outlier() -> None:
    few, many = [0.9, 1.0, 1.1] * 3, [0.9, 1.0, 1.1] * 30
    assert standard_error(many) < standard_error(few) / 3
    assert standard_error([*few, 1000.0]) < 2 * standard_error(few)


def test_a_ledger_that_was_written_to_azurites_file_reads_like_any_other(ledgers: list[str]) -> None:
    ledger = app_on(ledgers[1]).ledger
    listed = newest(ledger, limit=100)
    assert len(listed) == TINY.ledger_large
    assert [lead.received_at for lead in listed] == sorted((lead.received_at for lead in listed), reverse=True)
    assert [lead.offer for lead in newest(ledger, offer=OFFER)] == [OFFER] * 3
    assert len(todo(ledger, State.PARKED, PARKED_CONNECTION)) == TINY.parked
    record = ledger.read(listed[-1].lead_id)
    assert record is not None and record.lead is not None and record.lead.email == "customer.5@example.com"


def test_rows_chooses_measurements() -> None:
    assert bench.choose({}) == list(bench.MEASUREMENTS)
    assert bench.choose({"ROWS": "delivery, intake"}) == ["delivery", "intake"]


def test_an_unknown_row_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main({"ROWS": "intake,speed"}) == 2
    line = capsys.readouterr().err
    assert line.startswith("bench: ROWS=speed: there is no such measurement; use some of intake, ")
    assert line.count("\n") == 1


@pytest.mark.parametrize(("strict", "status"), [("", 0), ("1", 1)])
def test_an_unmet_target_is_an_error_only_where_that_is_asked_for(
    strict: str, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unmet = Result(Row("too slow", 1.0, 2.0, 2.0, "≤ 1 ×", met=False))
    monkeypatch.setitem(bench.MEASUREMENTS, "intake", lambda *_: [unmet])
    monkeypatch.setattr(bench, "LATEST", tmp_path / "latest.json")
    assert bench.main({"ROWS": "intake", "STRICT": strict}) == status
    assert json.loads((tmp_path / "latest.json").read_text())["rows"][0]["what"] == "too slow"
