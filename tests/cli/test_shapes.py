"""The shapes of answers: one `--output` for all lists, and errors in the same shape."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from leads.cli.program import COMMANDS, load
from tests.support.command_line import Run
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import REJECTED, Vendor

LISTS = {
    ("offers", "list"): (None, "id"),
    ("offers", "types"): (None, "type"),
    ("connections", "list"): (None, "id"),
    ("leads", "list"): ("leads", "lead_id"),
    ("audit",): ("entries", "operation"),
    ("doctor",): ("findings", "says"),
    ("offers", "validate", "contoso.crm"): ("destinations", "destination"),
    ("replay", "--offer", "contoso.crm", "--dry-run"): (None, "lead_id"),
    ("dismiss", "--offer", "contoso.crm", "--note", "why", "--dry-run"): (None, "lead_id"),
}
"""Commands that list; the member of the JSON that holds the rows (None = all of it is rows), and a column that all rows fill."""


@pytest.fixture(autouse=True)
def filled(pipeline: Pipeline, vendor: Vendor, run: Run) -> None:
    """An offer with two leads: one delivered, one refused."""
    pipeline.offer(crm(vendor.url))
    pipeline.post()
    pipeline.run()
    vendor.answers(REJECTED)
    pipeline.post(a_lead("two@example.com"))
    pipeline.run()
    connection = json.loads(run("connections", "list", "--json").out)[0]["id"]
    run("connections", "resume", connection)
    run("connections", "pause", connection, "--note", "=now")


def untimed(text: str) -> str:
    """The output without the duration of a check, which also changes the width of a table."""
    return re.sub(r"\s+", " ", re.sub(r'\d+ ms|seconds": \d+', "~", text))


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_every_list_comes_in_four_shapes_that_say_the_same(words: tuple[str, ...], run: Run) -> None:
    member, column = LISTS[words]
    whole = run(*words, "--output", "json")
    assert untimed(whole.out) == untimed(run(*words, "--json").out)
    rows: list[dict[str, Any]] = json.loads(whole.out)[member] if member else json.loads(whole.out)
    assert rows
    lines = [json.loads(line) for line in run(*words, "--output", "jsonl").out.splitlines()]
    cells = list(csv.DictReader(io.StringIO(run(*words, "--output=csv").out)))
    assert [line[column] for line in lines] == [row[column] for row in rows]
    assert [cell[column].removeprefix("'") for cell in cells] == [row[column] for row in rows]
    assert all(set(cell) == set(rows[0]) for cell in cells)
    assert untimed(run(*words, "--output", "table").out) == untimed(run(*words).out)
    assert {run(*words, "--output", shape).status for shape in ("json", "jsonl", "csv", "table")} == {whole.status}


def test_no_cell_is_computed_by_a_spreadsheet(run: Run) -> None:
    (connection,) = csv.DictReader(io.StringIO(run("connections", "list", "--csv").out))
    assert "=now" in connection["health"]
    assert not [cell for cell in connection.values() if cell.startswith(("=", "+", "@"))]


def test_what_is_empty_has_its_header(run: Run) -> None:
    out = run("leads", "list", "--offer", "no.such", "--output", "csv").out
    assert out.startswith('"lead_id","received_at","offer"')
    assert len(out.splitlines()) == 1
    assert run("leads", "list", "--offer", "no.such", "--output", "jsonl").out == ""


def test_a_page_for_a_script_tells_on_standard_error_how_to_go_on(run: Run) -> None:
    for words in (("leads", "list"), ("audit",)):
        for shape in ("jsonl", "csv"):
            page = run(*words, "--limit", "1", "--output", shape)
            assert page.err.startswith("There are more: python -m leads ")
        assert run(*words, "--limit", "1", "--output", "json").err == ""


def test_what_is_no_list_comes_as_a_table_or_as_json(run: Run) -> None:
    for words in (("status",), ("whoami",)):
        assert run(*words, "--output", "json").out == run(*words, "--json").out
        refused = run(*words, "--output", "csv")
        assert refused.status == 2
        assert refused.err.startswith("error: Invalid value for '--output': 'csv' is not one of 'table', 'json'")


def test_two_shapes_at_once_are_refused(run: Run) -> None:
    for flags in (("--json", "--csv"), ("--json", "--output", "csv"), ("--output=jsonl", "--output", "csv")):
        refused = run("leads", "list", *flags)
        assert (refused.status, "is given twice" in refused.err) == (2, True)
    assert run("leads", "list", "--follow", "--csv").err.startswith("error: --follow: can't be printed as csv")


def test_every_command_with_an_answer_for_scripts_takes_output(run: Run) -> None:
    without = {"export", "access", "erase"}  # --output is the file; always JSON; as erase has two kinds of rows
    for name in COMMANDS:
        command: Any = load(name)
        for each in getattr(command, "commands", {name: command}).values():
            flags = {flag for param in each.params for flag in param.opts}
            assert "--json" not in flags
            assert "--output" in flags or name in without or each.name in _SAY_WHAT_THEY_DID, each.name


_SAY_WHAT_THEY_DID = {"connect", "set", "apply", "remove", "test", "pause", "resume", "show", "login", "logout", "use"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("leads", "show", "12"),
            {"title": "Not found", "status": 404, "field": "lead_id", "exit_status": 1},
        ),
        (
            ("leads", "list", "--since", "yesterday"),
            {"title": "The request is not valid", "status": 400, "field": "since", "exit_status": 2},
        ),
        (("leads", "list", "--nope"), {"title": "The request is not valid", "status": 400, "exit_status": 2}),
        (("offers", "bogus"), {"title": "The request is not valid", "status": 400, "exit_status": 2}),
    ],
)
def test_what_goes_wrong_is_json_where_the_answer_would_have_been(
    words: tuple[str, ...], expected: dict[str, Any], run: Run
) -> None:
    for flags in (("--json",), ("--output", "json")):
        ran = run(*words, *flags)
        assert (ran.status, ran.out) == (expected["exit_status"], "")
        told = json.loads(ran.err)
        assert told["type"] == "about:blank"
        assert told["detail"]
        assert {name: told.get(name) for name in expected} == expected
    assert run(*words, "--output", "csv").err.startswith("error: ")
    assert run(*words).err.startswith("error: ")
