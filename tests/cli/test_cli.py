"""`python -m leads`: what a person sees, and what a script gets."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from leads.cli import main
from leads.platform.storage import CLI_TIMEOUTS
from tests.cli.conftest import AtATerminal, Write
from tests.support.command_line import ROOT, Ran, Run, environment_of, one_line, process
from tests.support.pipeline import LEAD, Pipeline, a_lead, crm
from tests.support.tcp import never_answer, tcp_server
from tests.support.vendor import DELIVERED, RETRY, Vendor

OFFER = {"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": [{"name": "table", "type": "azure_table"}]}
PERSONAL = [*LEAD["UserDetails"].values(), LEAD["Description"]]


# Offers


def test_an_offer_is_set_shown_changed_and_removed(run: Run, written: Write) -> None:
    assert run("offers", "set", written(OFFER)) == Ran(0, "contoso.crm: created\n", "")
    shown = run("offers", "show", "Contoso.CRM")
    assert json.loads(shown.out)["destinations"][0]["name"] == "table"
    assert run("offers", "set", written(shown.out)).out == "contoso.crm: unchanged\n"
    changed = run("offers", "set", written(OFFER | {"titles": ["New \x1b[31mname"]}))
    assert changed.out == ('contoso.crm: changed\n  titles: ["Contoso CRM"] -> ["New \\u001b[31mname"]\n')
    assert run("offers", "remove", "contoso.crm", "--yes").out == "contoso.crm: removed\n"
    assert one_line(run("offers", "remove", "contoso.crm", "--yes"), 1).startswith(
        "offer: no offer has the id contoso.crm"
    )
    assert one_line(run("offers", "show", "contoso.crm"), 1).startswith("offer: ")


@pytest.mark.storage("azurite")
def test_an_offer_is_removed_only_after_a_word_about_its_waiting_leads_and_a_yes(
    run: Run, pipeline: Pipeline, vendor: Vendor, terminal_with: AtATerminal
) -> None:
    pipeline.offer(crm(vendor.url))
    vendor.fails()
    pipeline.post()
    pipeline.run()
    told = "contoso.crm: 1 delivery waiting. These leads become unrouted, and go to the first offer that takes them."
    refused = run("offers", "remove", "Contoso.CRM")
    assert (refused.status, refused.err.splitlines()[0].casefold()) == (2, told.casefold())
    assert refused.err.splitlines()[1].startswith("error: --yes: is needed")
    with terminal_with("offers", "remove", "contoso.crm") as terminal:
        terminal.answer(
            told,
            ("the storage that LeadsStorage names: Remove the offer contoso.crm? [y/N]: ", ""),
            "Nothing was removed.",
        )
        assert terminal.end() == 0
    assert run("offers", "show", "contoso.crm").status == 0
    assert run("offers", "remove", "contoso.crm", "-y").status == 0


@pytest.mark.parametrize("command", [("apply", "--dry-run"), ("set",)], ids=["apply", "set"])
def test_who_renames_a_destination_is_told_what_becomes_of_its_waiting_leads(
    run: Run, pipeline: Pipeline, vendor: Vendor, written: Write, command: tuple[str, ...]
) -> None:
    before = pipeline.offer(crm(vendor.url))
    vendor.fails()
    pipeline.post()
    pipeline.run()
    same = before.model_dump(mode="json")
    told = "contoso.crm: 1 delivery waiting. Those for crm become dead letters. If a destination only changes, keep its name.\n"
    assert run("offers", *command, written(same | {"titles": ["Other"]})).err == ""
    renamed = same | {"destinations": [same["destinations"][0] | {"name": "sales"}]}
    assert run("offers", *command, written(renamed)).err == told


def test_all_offers_can_be_saved_to_a_file_and_set_again(
    run: Run, pipeline: Pipeline, written: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = {"id": "*", "destinations": OFFER["destinations"]}
    run("offers", "set", written([OFFER, default]))
    saved = run("offers", "list", "--json").out
    for offer_id in ("*", "contoso.crm"):
        run("offers", "remove", offer_id, "--yes")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + saved.encode())))
    assert run("offers", "set", "-").out == "*: created\ncontoso.crm: created\n"
    assert run("offers", "list", "--json").out == saved


def test_offers_are_listed_as_a_table_with_a_line_for_each(run: Run, written: Write) -> None:
    assert "the app keeps every lead as unrouted" in run("offers", "list").out
    run("offers", "set", written([OFFER | {"titles": [f"A rather long title number {n}" for n in range(9)]}]))
    title, line = run("offers", "list").out.splitlines()
    assert title.split("  ")[0] == "offer"
    assert line.startswith("contoso.crm  A rather long title number 0, ")
    assert "table (azure_table)" in line


def test_nothing_of_a_list_is_saved_if_one_offer_is_wrong(run: Run, written: Write) -> None:
    line = one_line(run("offers", "set", written([OFFER, {"id": "a.b"}])), 2)
    assert line == "offers[1].destinations: is missing: add it"
    assert json.loads(run("offers", "list", "--json").out) == []


def test_a_file_that_can_not_be_read_is_named(run: Run, tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "missing.json", "nul\0"):
        assert one_line(run("offers", "set", str(file)), 2).startswith("FILE: ")


def test_destination_types_explain_their_settings(run: Run) -> None:
    assert "azure_table Azure Table: " in " ".join(run("offers", "types").out.split())
    explained = run("offers", "types", "azure_table").out
    assert "secret reference" in explained
    assert '"MarketplaceLeads"' in explained
    assert json.loads(run("offers", "types", "azure_table", "--json").out)["settings_schema"]["properties"]["table"]
    assert one_line(run("offers", "types", "nope"), 1).startswith("type: ")


# Leads


def test_leads_are_listed_without_personal_data_a_line_for_each(run: Run, pipeline: Pipeline, vendor: Vendor) -> None:
    assert run("leads", "list").out == "No leads.\n"
    assert run("leads", "list", "--state", "dead_letter").out == "No leads match: state dead_letter.\n"
    pipeline.offer(crm(vendor.url), offer_id="contoso.a-rather-long-name-of-an-offer")
    first = pipeline.post()
    pipeline.advance(7200)
    second = pipeline.post(a_lead("two@example.com", OfferTitle="[red]Another\x1b[31m"))
    pipeline.run()
    title, *lines = run("leads", "list").out.splitlines()
    assert title.split() == ["received", "(UTC)", "lead", "offer", "stage", "state"]
    assert [line.split()[2:] for line in lines] == [
        [second, "-", "initial_interest", "unrouted"],
        [first, "contoso.a-rather-long-name-of-an-offer", "initial_interest", "delivered"],
    ]
    assert f"{pipeline.clock.now():%Y-%m-%d %H:%M}  " in lines[0]
    assert [line.split()[2] for line in run("leads", "list", "--since", "1h").out.splitlines()[1:]] == [second]
    assert run("leads", "list", "--offer", "-", "--state", "unrouted").out.splitlines()[1].split()[2] == second
    everything = run("leads", "list", "--json").out
    assert not [text for text in PERSONAL if text in everything]


def test_a_page_tells_on_standard_error_how_to_go_on(run: Run, pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url))
    older = pipeline.post()
    pipeline.advance(1)
    newer = pipeline.post(a_lead("two@example.com"))
    pipeline.run()
    page = run("leads", "list", "--limit", "1")
    assert newer in page.out
    assert page.err == f"There are more: python -m leads leads list --limit 1 --after {newer}\n"
    page = run("leads", "list", "--limit", "1", "--after", newer)
    assert older in page.out
    assert page.err == ""


def test_a_lead_shows_every_attempt_and_the_person_only_when_asked(
    run: Run, pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url))
    vendor.answers(RETRY, DELIVERED)
    lead_id = pipeline.post(a_lead(Description="Please\n\x1b[31mcall \u202eme"))
    pipeline.run()
    assert "next try" in run("leads", "show", lead_id).out
    pipeline.advance(15)
    shown = run("leads", "show", lead_id)
    attempts = [line.split() for line in shown.out.splitlines() if line.startswith(f"{pipeline.clock.now():%Y-}")]
    assert [attempt[2] for attempt in attempts] == ["retry", "delivered"]
    assert attempts[0][3] == "503"
    assert "initial interest" in shown.out
    for form in ((), ("--json",)):
        assert not [text for text in ("ada@", "O'Neil", "Please") if text in run("leads", "show", lead_id, *form).out]
        assert "ada@example.com" in run("leads", "show", lead_id, "--person", *form).out
    person = run("leads", "show", lead_id, "--person").out
    assert "\u202e" not in person
    assert "\x1b" not in person
    assert "person" not in json.loads(run("leads", "show", lead_id, "--json").out)


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (("leads", "show", "12"), 1, "lead_id: is not a lead's id"),
        (("leads", "show", "20260131235959999-0123456789ab-c"), 1, "lead_id: no lead has this id"),
        (("leads", "list", "--state", "done"), 2, "state: Input should be 'waiting'"),
        (("leads", "list", "--since", "yesterday"), 2, "since: write a time as"),
        (("leads", "list", "--limit", "1001"), 2, "limit: "),
        (("leads", "list", "--limit", "x"), 2, "Invalid value for '--limit'"),
        (("leads", "list", "--after", "12"), 2, "after: "),
        (("leads", "list", "--nope"), 2, "No such option: --nope"),
        (("offers", "set"), 2, "Missing argument 'FILE'"),
        (("offers", "bogus"), 2, "No such command 'bogus'"),
    ],
)
def test_wrong_input_is_answered_in_one_line(run: Run, arguments: tuple[str, ...], status: int, problem: str) -> None:
    assert one_line(run(*arguments), status).startswith(problem)


def test_a_name_that_there_is_not_is_answered_with_the_names_or_with_the_command_that_lists_them(run: Run) -> None:
    assert one_line(run("offers", "types", "netsuite"), 1).endswith(", salesforce_web_to_lead, webhook")
    assert one_line(run("leads", "show", "12"), 1).endswith(
        "; list the leads to see their ids: python -m leads leads list"
    )


# Status


def test_status_shows_all_at_a_glance(run: Run, pipeline: Pipeline, vendor: Vendor) -> None:
    empty = run("status")
    assert "offers          none" in empty.out
    assert empty.status == 5
    pipeline.offer(crm(vendor.url))
    pipeline.post()
    pipeline.run()
    assert run("status").status == 0
    vendor.refuses()
    oldest = pipeline.post(a_lead("two@example.com"))
    pipeline.run()
    status, out = run("status").status, run("status").out
    assert status == run("status", "--json").status == 5
    assert "last 24 hours   1 parked, 1 delivered\n" in out
    assert "undelivered     1 parked (each destination counts)\n" in out
    assert f"oldest          {oldest}, parked, received " in out
    assert "queue           0 messages, 0 poison" in out
    assert "is paused: the secret has expired: make a new one; waiting leads: 1\n" in out
    assert "recording  paused: the secret has expired: make a new one (since " in out
    assert re.search(r"\(since \d{4}-\d\d-\d\d \d\d:\d\d, next probe \d\d:\d\d:\d\d UTC\)", out)
    assert "next retry" not in out
    assert json.loads(run("status", "--json").out)["undelivered"]["parked"] == 1


# Help


def test_help_teaches_where_secrets_go_and_shows_an_offer_that_can_be_set(run: Run, written: Write) -> None:
    shown = run("offers", "set", "--help").out
    for text in ('"id": "contoso.crm"', "env:NAME", "keyvault:NAME"):
        assert text in shown
    start, end = shown.index("  {\n"), shown.index("\n  }\n") + 4
    assert run("offers", "set", written(shown[start:end])).out == "contoso.crm: created\n"
    assert "LeadsStorage" in run("--help").out
    assert run("offers").status == 2


# As a process


def account(port: int) -> str:
    endpoints = f"TableEndpoint=http://127.0.0.1:{port}/a;QueueEndpoint=http://127.0.0.1:{port}/a"
    return f"AccountName=a;AccountKey=c2VjcmV0;{endpoints}"


def test_what_the_terminal_has_no_characters_for_is_printed(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer({"name": "table", "type": "azure_table"}, titles=["A 🎈"])
    screen = io.BytesIO()
    monkeypatch.setattr(screen_text := io.TextIOWrapper(screen, "latin-1"), "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", screen_text)
    assert main(["offers", "list"]) == 0
    assert rb"A \U0001f388" in screen.getvalue()


def test_storage_that_refuses_connections_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LeadsStorage", account(unused.getsockname()[1]))
        ran = run("leads", "list")
    assert one_line(ran, 3).startswith("LeadsStorage: the storage account does not answer")


def test_storage_that_hangs_is_asked_once_and_given_up_within_fifteen_seconds(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CLI_TIMEOUTS["connection_timeout"] + CLI_TIMEOUTS["read_timeout"] <= 15
    monkeypatch.setitem(CLI_TIMEOUTS, "read_timeout", 0.3)
    asked: list[bytes] = []

    def hang(connection: socket.socket) -> None:
        asked.append(connection.recv(100))
        never_answer(connection)

    with tcp_server(hang) as port:
        monkeypatch.setenv("LeadsStorage", account(port))
        ran = run("offers", "list")
    assert one_line(ran, 3).startswith("LeadsStorage: the storage account does not answer")
    assert len(asked) == 1


@pytest.mark.storage("azurite")
def test_a_wrong_key_is_one_line(run: Run, fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _, after = fresh_storage.partition("AccountKey=")
    monkeypatch.setenv("LeadsStorage", f"{before}AccountKey=c2VjcmV0;{after.partition(';')[2]}")
    ran = run("offers", "list")
    assert one_line(ran, 3).startswith("LeadsStorage: the storage account refuses (403 ")


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({}, "No storage is configured: set LeadsStorage to a connection string"),
        ({"LeadsStorage": "AccountKey=c2VjcmV0"}, "LeadsStorage: is not a storage connection string"),
        ({"LeadsStorage": "c2VjcmV0"}, "LeadsStorage: is not a storage connection string"),
        ({"LeadsStorage": "AccountName=a;AccountKey=b;c2VjcmV0"}, "LeadsStorage: is not a storage connection string"),
        ({"LeadsStorage__credential": "c2VjcmV0"}, "LeadsStorage__credential: "),
    ],
)
def test_a_setting_that_is_wrong_is_named_without_its_value(
    environment: dict[str, str], problem: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LeadsStorage")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    line = one_line(run("offers", "list"), 2)
    assert line.startswith(problem)
    assert "c2VjcmV0" not in line


@pytest.mark.parametrize("missing", ["typer", "rich", "yaml"])
def test_a_missing_library_is_named_with_the_way_to_install_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from leads.__main__ import run; sys.exit(run())"
    ran = process("offers", "types", environment={}, python=("-c", code))
    assert one_line(ran, 2).endswith("pip install typer rich pyyaml")


def test_the_deployed_app_imports_nothing_of_the_command_line() -> None:
    ours = "{'typer', 'rich', 'yaml', 'leads.cli'}"
    code = f"import sys, function_app, leads.operations.http; sys.exit(bool({ours} & set(sys.modules)))"
    assert process(environment={}, python=("-c", code)) == Ran(0, "", "")


@pytest.mark.storage("azurite")
def test_a_reader_that_stops_reading_causes_no_complaint(pipeline: Pipeline, fresh_storage: str) -> None:
    for number in range(3):
        pipeline.post(a_lead(f"{number}@example.com"))
    pipeline.run()
    command = f"{sys.executable} -m leads leads list --json | true"
    environment = os.environ | {"LeadsStorage": fresh_storage}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("profiles >&-", 0, ""),
        ("--help >&- 2>&-", 0, ""),
        ("login production --url http://127.0.0.1:9 <&-", 2, "error: key: is empty; type the key at the terminal"),
        ("access <&-", 2, "error: "),
        ("--help >/dev/full", 2, "error: output: No space left on device"),
    ],
)
def test_a_closed_stream_or_a_full_disk_is_no_defect(command: str, status: int, said: str, tmp_path: Path) -> None:
    environment = environment_of({"XDG_CONFIG_HOME": str(tmp_path), "LeadsStorage": "UseDevelopmentStorage=true"})
    done = subprocess.run(
        ["/bin/sh", "-c", f"{shlex.quote(sys.executable)} -m leads {command}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)
    assert done.returncode == status


def test_what_is_piped_is_utf_8_also_where_the_locale_is_not(tmp_path: Path) -> None:
    file = tmp_path / "marketplace-leads/apps.json"
    file.parent.mkdir()
    app = {"url": "https://app.example.com", "key_in_azure": {"group": "Řehoř", "app": "leads"}}
    file.write_text(json.dumps({"apps": {"production": app}}))
    file.chmod(0o600)
    as_on_windows = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    ran = process("profiles", "--json", environment={"XDG_CONFIG_HOME": str(tmp_path)} | as_on_windows)
    assert (ran.status, ran.err) == (0, "")
    assert "in Řehoř" in ran.out


def test_a_byte_order_mark_before_what_is_given_on_standard_input_does_no_harm(tmp_path: Path) -> None:
    command = ("login", "production", "--url", "http://127.0.0.1:9")
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    with_mark = process(*command, environment=environment, typed="\ufeffa-key\n")
    assert with_mark == process(*command, environment=environment, typed="a-key\n")
    assert "does not answer" in one_line(with_mark, 3)


def test_a_key_on_standard_input_that_is_none_is_not_blamed_on_a_variable(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    ran = process("login", "production", "--url", "http://127.0.0.1:9", environment=environment, typed="two words\n")
    assert one_line(ran, 2) == "key: has a character that no key has; copy the value again"
