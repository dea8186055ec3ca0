"""`python -m leads` for connecting: files with offers, the guided dialogue, validation, preview, test lead, pauses."""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from leads.cli import checks, offers
from leads.cli.settings import settings_of
from leads.destinations import MODULES
from leads.offers.model import read_offer
from leads.operations.destination_types import describe
from tests.cli.conftest import AtATerminal, Write
from tests.destinations.faults.subjects import SUBJECTS
from tests.support.command_line import ROOT, Run, ctrl_c_during_the_answer, one_line, working
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import REJECTED, RETRY, Vendor

TABLE = {"name": "table", "type": "azure_table"}
OFFER = {"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": [TABLE]}


def titles(pipeline: Pipeline) -> dict[str, list[str]]:
    return {stored.offer.id: stored.offer.titles for stored in pipeline.app.offers.stored()}


# A file under version control


def test_a_file_is_applied_with_its_difference_shown_first(run: Run, written: Write, pipeline: Pipeline) -> None:
    file = written([OFFER, OFFER | {"id": "*", "titles": []}])
    assert run("offers", "apply", file, "--yes").out == (
        "contoso.crm: create\n*: create\ncontoso.crm: created\n*: created\n"
    )
    assert run("offers", "apply", file, "--yes").out == "contoso.crm: unchanged\n*: unchanged\n"
    changed = run("offers", "apply", written({"offers": [OFFER | {"titles": ["New"]}]}), "--yes")
    assert changed.out == ('contoso.crm: change\n  titles: ["Contoso CRM"] -> ["New"]\ncontoso.crm: changed\n')
    assert titles(pipeline) == {"*": [], "contoso.crm": ["New"]}, "what the file does not name stays"


def test_of_a_new_destination_only_what_it_has_is_shown(run: Run, written: Write, pipeline: Pipeline) -> None:
    run("offers", "apply", written(OFFER), "--yes")
    more = {"name": "more", "type": "azure_table", "when": {"country": ["NO"]}}
    changed = run("offers", "apply", written(OFFER | {"destinations": [*OFFER["destinations"], more]}), "--yes")
    assert changed.out.splitlines()[1:-1] == [
        "  destinations.more.pace: (nothing) -> 5.0",
        '  destinations.more.type: (nothing) -> "azure_table"',
        '  destinations.more.when.country: (nothing) -> ["NO"]',
    ]


def test_a_dry_run_tells_by_its_status_whether_anything_differs(run: Run, written: Write, pipeline: Pipeline) -> None:
    file = written(OFFER)
    dry = run("offers", "apply", file, "--dry-run")
    assert (dry.status, dry.out) == (5, "contoso.crm: create\n")
    assert titles(pipeline) == {}
    run("offers", "apply", file, "--yes")
    assert run("offers", "apply", file, "--dry-run").status == 0


def test_offers_that_the_file_does_not_name_are_removed_only_if_that_is_asked_for(
    run: Run, written: Write, pipeline: Pipeline
) -> None:
    run("offers", "apply", written([OFFER, OFFER | {"id": "old.one"}]), "--yes")
    file = written([OFFER | {"id": "Contoso.CRM"}])
    applied = run("offers", "apply", file, "--yes", "--remove-others")
    assert applied.out.splitlines()[-2:] == ["Contoso.CRM: changed", "old.one: removed"]
    assert set(titles(pipeline)) == {"Contoso.CRM"}


def test_an_id_that_no_address_can_name_is_refused_wherever_it_is_written(
    run: Run, written: Write, pipeline: Pipeline
) -> None:
    for words in (
        ("apply", written([OFFER | {"id": ".."}]), "--yes"),
        ("connect", "..", "--type", "azure_table", "--yes"),
    ):
        refused = run("offers", *words)
        assert (refused.status, refused.out) == (2, "")
        assert "id: can't be part of an address" in refused.err
    assert titles(pipeline) == {}


def test_without_a_terminal_and_without_the_flag_nothing_is_saved(run: Run, written: Write, pipeline: Pipeline) -> None:
    refused = run("offers", "apply", written(OFFER))
    assert (refused.status, refused.out) == (2, "contoso.crm: create\n")
    assert (
        refused.err
        == "error: --yes: is needed, because this is not a terminal: the storage that LeadsStorage names: Save this?\n"
    )
    assert titles(pipeline) == {}


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(
    "command", ["set FILE", "apply FILE --yes", "connect contoso.crm --type azure_table --name ours --yes"]
)
def test_a_second_save_fails_and_overwrites_nothing(
    run: Run, written: Write, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, command: str, is_there: bool
) -> None:
    """Somebody else saves between the comparison and the save."""
    pipeline.offer(TABLE, offer_id="a.b", titles=["Old"])
    if is_there:
        pipeline.offer(TABLE, titles=["Old"])
    save = offers.save

    def slower(context: Any, planned: Any) -> None:
        if planned.id == "contoso.crm":
            pipeline.offer(TABLE | {"name": "theirs"}, titles=["Theirs"])
        save(context, planned)

    monkeypatch.setattr(offers, "save", slower)
    file = written([OFFER | {"id": "a.b", "titles": ["Ours"]}, OFFER | {"titles": ["Ours"]}])
    ran = run("offers", *(file if word == "FILE" else word for word in command.split()))
    assert ran.status == 4
    assert ran.err.startswith("error: contoso.crm: the offer changed since it was read, so nothing was saved.")
    assert titles(pipeline) == {"a.b": ["Ours" if "FILE" in command else "Old"], "contoso.crm": ["Theirs"]}
    assert [config.name for config in pipeline.app.offers.stored()[-1].offer.destinations] == ["theirs"]


@pytest.mark.storage("azurite")
def test_at_a_terminal_the_difference_is_asked_about(
    written: Write, pipeline: Pipeline, terminal_with: AtATerminal
) -> None:
    file = written(OFFER)
    for answer, saved in (("", "Nothing was saved."), ("y", "contoso.crm: created")):
        with terminal_with("offers", "apply", file) as terminal:
            terminal.answer(
                ("contoso.crm: create\nthe storage that LeadsStorage names: Save this? [y/N]: ", answer), saved
            )
            assert terminal.end() == 0
    assert titles(pipeline) == {"contoso.crm": ["Contoso CRM"]}


# The guided dialogue


@pytest.mark.storage("azurite")
def test_the_dialogue_asks_checks_saves_and_tries(pipeline: Pipeline, terminal_with: AtATerminal) -> None:
    with (
        working(pipeline),
        terminal_with("offers", "connect") as terminal,
    ):
        terminal.answer(
            ("Offer id: ", " "),
            "id: String should have at least 1 character",
            ("Offer id: ", "contoso.crm"),
            ("Display name (Enter: no more): ", "Contoso CRM"),
            ("Display name (Enter: no more): ", ""),
            "  Azure Table: ",
            ("Type: ", "crm"),
            "must be one of azure_table, dataverse, ",
            ("Type: ", "azure_table"),
            ("Name of the destination within the offer [azure_table]: ", "Table"),
            "name: does not have the right form. A name that is unique within the offer",
            ("Name of the destination within the offer [azure_table]: ", "table"),
            "Table: The table's name, ",
            ("table [MarketplaceLeads]: ", "1"),
            "table: does not have the right form. ",
            ("table [MarketplaceLeads]: ", "CrmLeads"),
            ("connection_string (Enter: none): ", "AccountKey=s3cret"),
            "connection_string: must be a reference: env:NAME",
            ("connection_string (Enter: none): ", "env:LEADS_SECRET_CRM_STORAGE"),
            "az keyvault secret set --vault-name VAULT --name leads-secret-crm-storage --file /dev/stdin ",
            'Then add "LEADS_SECRET_CRM_STORAGE": "leads-secret-crm-storage" to the parameter keyVaultSettings',
            ("table_service_uri (Enter: none): ", ""),
            ("Check whether it is usable? [Y/n]: ", "y"),
            "The app setting LEADS_SECRET_CRM_STORAGE is missing or empty",
            ("Change the settings? [Y/n]: ", "y"),
            ("table [CrmLeads]: ", ""),
            ("connection_string (-: none) [env:LEADS_SECRET_CRM_STORAGE]: ", "-"),
            ("table_service_uri (Enter: none): ", ""),
            ("Check whether it is usable? [Y/n]: ", "y"),
            "usable",
            ("contoso.crm: create\nthe storage that LeadsStorage names: Save it? [Y/n]: ", "y"),
            ("contoso.crm: created\nSend a test lead? [Y/n]: ", "y"),
            "accepted as ",
            "table: delivered (created)",
            "The test lead has arrived.",
        )
        assert terminal.end() == 0
    (stored,) = pipeline.app.offers.stored()
    assert stored.offer == read_offer(OFFER | {"destinations": [TABLE | {"settings": {"table": "CrmLeads"}}]})


@pytest.mark.storage("azurite")
def test_what_is_interrupted_saves_nothing(pipeline: Pipeline, terminal_with: AtATerminal) -> None:
    with terminal_with("offers", "connect", "a.b") as terminal:
        terminal.wait_for("Display name (Enter: no more): ")
        terminal.interrupt()
        assert terminal.end() == 130
    assert titles(pipeline) == {}


def test_all_that_is_asked_can_be_given_as_flags(run: Run, pipeline: Pipeline) -> None:
    given = ("--type", "azure_table", "--name", "table", "--set", "table=CrmLeads", "--title", "Contoso CRM")
    with working(pipeline):
        ran = run("offers", "connect", "contoso.crm", *given, "--validate", "--test", "--yes")
    assert ran.status == 0, ran.err
    assert "contoso.crm: created" in ran.out
    assert "The test lead has arrived." in ran.out
    assert pipeline.app.offers.stored()[0].offer.destinations[0].settings == {"table": "CrmLeads"}


def test_flags_take_lists_and_objects_as_json_and_the_place_of_a_secret(run: Run, pipeline: Pipeline) -> None:
    given = ("--set", "url=https://hooks.example.com/x", "--set", "secret=keyvault:hook")
    headers = ("--set", 'headers={"Authorization": "env:LEADS_SECRET_HOOK_TOKEN"}')
    assert run("offers", "connect", "a.b", "--type", "webhook", *given, *headers, "--yes").status == 0
    (stored,) = pipeline.app.offers.stored()
    assert stored.offer.destinations[0].settings["headers"] == {"Authorization": "env:LEADS_SECRET_HOOK_TOKEN"}


def connecting(page: Path) -> list[list[str]]:
    """The commands of a page that connect an offer, word by word."""
    commands: list[str] = re.findall(r"^ {4,}leads (offers connect (?:.*\\\n)*.*)$", page.read_text(), re.MULTILINE)
    return [shlex.split(command.replace("\\\n", " ")) for command in commands]


CONNECT_PAGES = sorted((ROOT / "docs/how-to").glob("connect-*.md"))


@pytest.mark.parametrize("page", CONNECT_PAGES, ids=lambda page: page.stem)
def test_each_command_of_a_page_that_connects_a_crm_saves_its_offer(run: Run, pipeline: Pipeline, page: Path) -> None:
    assert connecting(page)
    for words in connecting(page):
        assert {"--validate", "--test", "--yes"} <= set(words)
        ran = run(*(word for word in words if word not in {"--validate", "--test"}))
        assert ran.status == 0, ran.err
    (stored,) = pipeline.app.offers.stored()
    assert stored.offer.destination(words[words.index("--name") + 1])


def test_every_destination_type_has_a_page_that_connects_it() -> None:
    connected = {words[words.index("--type") + 1] for page in CONNECT_PAGES for words in connecting(page)}
    assert connected == {name for name, module in MODULES.items() if module.startswith("leads.")}


@pytest.mark.storage("azurite")
@pytest.mark.parametrize("type_name", SUBJECTS)
def test_every_type_is_connected_by_its_own_questions(
    type_name: str, run: Run, pipeline: Pipeline, terminal_with: AtATerminal
) -> None:
    asked = SUBJECTS[type_name].dialogue
    with terminal_with("offers", "connect", "contoso.crm") as terminal:
        terminal.answer(
            ("Display name (Enter: no more): ", ""), ("Type: ", type_name), (f"within the offer [{type_name}]: ", "crm")
        )
        for setting in settings_of(describe(type_name)):
            terminal.wait_for(f"{setting.title}: {setting.description}\n{setting.name}")
            if " | " in setting.kind:
                terminal.wait_for(f" ({setting.kind})")
            *refused, answer = asked.get(setting.name, [""])
            for wrong in refused:
                terminal.answer((": ", wrong), f"\n{setting.name}", ": ", f"\n{setting.name}")
            terminal.answer((": ", answer))
            for reference in re.findall(r"(?:env|keyvault):([\w-]+)", answer):
                terminal.wait_for("Store the secret in the ")
                terminal.wait_for(reference)
        terminal.answer(
            ("Check whether it is usable? [Y/n]: ", "n"),
            ("contoso.crm: create\nthe storage that LeadsStorage names: Save it? [Y/n]: ", "y"),
            ("contoso.crm: created\nSend a test lead? [Y/n]: ", "n"),
        )
        assert terminal.end() == 0
    (stored,) = pipeline.app.offers.stored()
    answers = {name: answers[-1] for name, answers in asked.items() if answers[-1]}
    plain = {setting.name for setting in settings_of(describe(type_name)) if setting.is_plain}
    wanted = {name: answer if name in plain else json.loads(answer) for name, answer in answers.items()}
    default = {setting.name: setting.default for setting in settings_of(describe(type_name))}
    assert stored.offer.destinations[0].settings == {
        name: value for name, value in wanted.items() if value != default[name]
    }


@pytest.mark.storage("azurite")
def test_the_dialogue_offers_the_present_settings_of_a_destination(
    pipeline: Pipeline, terminal_with: AtATerminal
) -> None:
    pipeline.offer(TABLE | {"settings": {"table": "CrmLeads"}}, offer_id="a.b")
    with terminal_with("offers", "connect", "a.b", "--type", "azure_table") as terminal:
        terminal.answer(
            "The offer has table. The same name replaces a destination, and a new name adds one.",
            ("Name of the destination within the offer [azure_table]: ", "table"),
            ("table [CrmLeads]: ", ""),
            ("connection_string (Enter: none): ", ""),
            ("table_service_uri (Enter: none): ", ""),
            ("Check whether it is usable? [Y/n]: ", "n"),
            ("a.b: unchanged\na.b: unchanged\nSend a test lead? [Y/n]: ", "n"),
        )
        assert terminal.end() == 0


@pytest.mark.storage("azurite")
def test_a_problem_between_answers_is_shown_and_the_questions_repeat(terminal_with: AtATerminal) -> None:
    given = ("--type", "dataverse", "--name", "crm", "--set", "url=https://contoso.crm4.dynamics.com", "--title", "A")
    with terminal_with("offers", "connect", "a.b", *given) as terminal:
        terminal.answer(
            ("tenant_id (Enter: none): ", ""),
            ("client_id (Enter: none): ", ""),
            ("client_secret (Enter: none): ", "env:LEADS_SECRET_CRM"),
            ("authority [https://login.microsoftonline.com]: ", ""),
            ("match_existing (email | off) [email]: ", ""),
            ("duplicate_detection (off | delivered | create) [off]: ", ""),
            ("deleted_records (recreate | skip) [recreate]: ", ""),
            "\ntenant_id: is needed too; leave out all three to use the app's managed identity\n",
            ("url [https://contoso.crm4.dynamics.com]: ", ""),
            ("tenant_id (Enter: none): ", ""),
        )


def test_a_second_destination_is_added_and_one_of_the_same_name_replaced(run: Run, pipeline: Pipeline) -> None:
    table = ("offers", "connect", "a.b", "--type", "azure_table", "--yes")
    run(*table, "--name", "one", "--title", "A")
    stored = pipeline.app.offers.stored()[0].offer
    first = stored.model_dump(mode="json")["destinations"][0] | {"pace": 2}
    pipeline.app.offers.save(read_offer(stored.model_dump(mode="json") | {"destinations": [first]}))
    run(*table, "--name", "two")
    changed = run(*table, "--name", "one", "--set", "table=Other", "--title", "B")
    assert 'a.b: change\n  destinations.one.settings.table: (nothing) -> "Other"\n' in changed.out
    offer = pipeline.app.offers.stored()[0].offer
    assert [(config.name, config.settings) for config in offer.destinations] == [
        ("one", {"table": "Other"}),
        ("two", {}),
    ]
    assert (offer.titles, offer.destinations[0].pace) == (["A", "B"], 2)
    hook = ("--type", "webhook", "--set", "url=https://hooks.example.com/x", "--set", "secret=keyvault:hook")
    assert run("offers", "connect", "a.b", "--name", "one", *hook, "--yes").status == 0
    replaced = pipeline.app.offers.stored()[0].offer.destinations[0]
    assert (replaced.type, replaced.pace) == ("webhook", offer.destinations[1].pace), "another type keeps nothing"


def test_what_is_not_usable_is_not_saved_by_a_script_that_has_it_validated(run: Run, pipeline: Pipeline) -> None:
    given = ("--type", "azure_table", "--set", "connection_string=env:LEADS_SECRET_NOT_THERE", "--validate", "--yes")
    ran = run("offers", "connect", "a.b", *given)
    assert (ran.status, titles(pipeline)) == (5, {})
    assert "The app setting LEADS_SECRET_NOT_THERE is missing or empty" in ran.out
    assert ran.out.splitlines()[-1] == "Nothing was saved."


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("a.b --type azure_table", "--yes: is needed"),
        ("--type azure_table --yes", "ID: is missing"),
        ("a.b --yes", "--type: must be one of azure_table, "),
        ("a.b --type crm --yes", "--type: must be one of azure_table, "),
        ("a.b --type webhook --yes", "--set url=…: is needed. The endpoint: "),
        ("a.b --type webhook --set url --yes", "--set: write SETTING=VALUE"),
        ("a.b --type webhook --set uri=x --yes", "--set uri=…: webhook has no such setting; use url, "),
        ("a.b --type webhook --set url=http://x --yes", "--set url: does not have the right form. The endpoint: "),
        ("a.b --type webhook --set url=https://x --set secret=s3cret --yes", "--set secret: must be a reference: env:"),
        ("a.b --type webhook --set headers=x --yes", "--set headers: must be JSON"),
        ("a.b --type azure_table --name 'A b' --yes", "destinations.0.name: does not have the right form. "),
        (
            "a.b --type azure_table --set connection_string=env:A --set table_service_uri=https://a.example.com --yes",
            "destinations.0.settings.connection_string: set connection_string or table_service_uri, but not both",
        ),
    ],
)
def test_a_wrong_flag_is_answered_in_one_line(run: Run, arguments: str, problem: str) -> None:
    line = one_line(run("offers", "connect", *shlex.split(arguments)), 2)
    assert line.startswith(problem)
    assert "s3cret" not in line


# Validate, preview


def test_validation_says_of_each_destination_what_to_change(run: Run, pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url), TABLE)
    assert run("offers", "validate", "contoso.crm").status == 0
    vendor.refuses()
    ran = run("offers", "validate", "contoso.crm")
    assert ran.status == 5
    assert "the secret has expired: make a new one (401)" in ran.out
    assert ran.err == "Checked from this machine; --app URL checks where the app runs, with its settings and network.\n"
    assert run("offers", "validate", "contoso.crm", "--destination", "table").status == 0
    found = json.loads(run("offers", "validate", "contoso.crm", "--json").out)
    assert [each["ok"] for each in found["destinations"]] == [False, True]
    vendor.fails()
    assert "out of reach for now: " in run("offers", "validate", "contoso.crm").out
    assert one_line(run("offers", "validate"), 2).startswith("ID: is missing")
    assert one_line(run("offers", "validate", "nope"), 1).startswith("offer: no offer has the id nope")


def test_an_offer_of_a_file_is_validated_and_previewed_before_it_is_saved(
    run: Run, written: Write, pipeline: Pipeline
) -> None:
    file = written([OFFER | {"stages": {"INS": "trial"}}, OFFER | {"id": "*"}])
    assert run("offers", "validate", "contoso.crm", "--file", file).status == 0
    assert "goes to offer contoso.crm" in run("offers", "preview", "contoso.crm", "--file", file).out
    assert run("offers", "preview", "contoso.crm", "--file", file).out.startswith("trial (INS)")
    assert one_line(run("offers", "preview", "--file", file), 2) == "ID: name one of the offers in the file"
    assert one_line(run("offers", "validate", "contoso.crm", "--file", file, "--destination", "x"), 1).startswith(
        "dest"
    )
    assert titles(pipeline) == {}


def test_a_preview_shows_every_request_as_a_person_reads_it(run: Run, pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url), TABLE | {"when": {"stage": ["purchase"]}})
    shown = run("offers", "preview", "contoso.crm", "--action", "PLT").out.splitlines()
    assert shown[:2] == ["contact requested (PLT), source AzureMarketplace, country US", "goes to offer contoso.crm"]
    assert f"  POST {vendor.url}/send" in shown
    assert '        "email": "robin.oneil@example.com",' in shown
    assert "  would skip the lead: when.stage: only purchase; the lead is contact_requested" in shown
    assert vendor.calls == []


@pytest.mark.parametrize(
    "name", ["04-connector-object.json", "28-windows-1252.json", "29-utf-16.json", "26-byte-order-mark.json"]
)
def test_a_lead_of_any_shape_and_encoding_is_previewed_as_it_would_be_read(
    run: Run, pipeline: Pipeline, name: str
) -> None:
    pipeline.offer(TABLE, offer_id="*")
    sample = ROOT / "samples" / name
    found = json.loads(run("offers", "preview", "--lead", str(sample), "--json").out)
    lead = pipeline.post(sample.read_bytes())
    pipeline.run()
    client = pipeline.app.storage.table("MarketplaceLeads").client
    (row,) = client.query_entities(f"RowKey eq '{lead}'")
    body = found["destinations"][0]["requests"][0]["body"]
    same = body.keys() - {"RowKey", "CreatedTime", "PartitionKey"}
    assert {column: row[column] for column in same} == {column: body[column] for column in same}


def test_a_preview_reports_an_unrouted_and_an_unreadable_lead(run: Run, pipeline: Pipeline, written: Write) -> None:
    preview = ("offers", "preview", "--lead", written(a_lead(Description="\x1b[31mred")))
    shown = run(*preview).out
    assert "No offer takes this lead. The app would keep it as unrouted" in shown
    pipeline.offer(TABLE, offer_id="*")
    assert "\x1b" not in run(*preview).out
    written("{")
    assert one_line(run(*preview), 2).startswith("lead: ")
    assert one_line(run(*preview, "--action", "PLT"), 2).startswith("action: ")


# A test lead


def test_a_test_lead_is_followed_until_it_has_arrived_everywhere(run: Run, pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url), TABLE)
    with working(pipeline):
        ran = run("offers", "test", "contoso.crm", "--action", "Create")
    assert (ran.status, ran.err) == (0, "")
    first, *steps, last = ran.out.splitlines()
    lead_id = vendor.keys()[0]
    assert f"accepted as {lead_id}; its mark is MSFT_TEST_" in first
    assert steps[0].endswith(" s  picked up: offer contoso.crm, purchase")
    assert {step.partition(" s  ")[2].partition(",")[0] for step in steps[1:]} == {
        "crm: delivered",
        "table: delivered (created)",
    }
    assert last == "The test lead has arrived."


def test_a_test_lead_that_does_not_arrive_says_why(run: Run, pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url))
    vendor.answers(REJECTED)
    with working(pipeline):
        refused = run("offers", "test", "contoso.crm")
        (connection,) = json.loads(run("connections", "list", "--json").out)
        run("connections", "pause", connection["id"], "--note", "maintenance, ask Ada")
        paused = run("offers", "test", "contoso.crm")
        pipeline.offer(crm(vendor.url), policies={"test_leads": "skip"})
        skipped = run("offers", "test", "contoso.crm")
    assert (refused.status, paused.status, skipped.status) == (5, 5, 5)
    assert refused.err.startswith("crm: dead_letter: ")
    assert f"the connection {connection['id']} is paused by a person: maintenance, ask Ada." in paused.err
    assert skipped.err == "contoso.crm: not sent: test leads are only recorded (policy test_leads)\n"


def test_without_a_worker_a_test_lead_is_reported_as_waiting_after_the_time_limit(
    run: Run, pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url))
    ran = run("offers", "test", "contoso.crm", "--timeout", "0")
    assert ran.status == 5
    assert ran.err.startswith("Not delivered after 0 s: nothing has picked it up. Check that the app runs")
    assert "The queue holds about 1 message," in ran.err


def test_a_test_lead_that_is_to_be_tried_again_says_what_the_last_try_was(
    run: Run, pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(crm(vendor.url))
    vendor.answer = lambda call: RETRY
    monkeypatch.setattr(checks, "POLL_SECONDS", 0.01)
    with working(pipeline):
        ran = run("offers", "test", "contoso.crm", "--timeout", "8")
    assert ran.status == 5
    assert ran.err == "Not delivered after 8 s: crm: the last try was retry (503); the app retries it\n"
    assert "crm: retry (503), " in ran.out


# Connections


def test_a_connection_is_paused_and_resumed_at_a_shell(run: Run, pipeline: Pipeline, vendor: Vendor) -> None:
    assert run("connections", "list").out == "No offer has a destination yet, so there is no connection.\n"
    pipeline.offer(crm(vendor.url))
    connection = json.loads(run("connections", "list", "--json").out)[0]["id"]
    assert run("connections", "pause", connection, "--note", "until six").out == (
        f"{connection}: paused by a person: until six\n"
    )
    status = run("status")
    assert status.status == 5
    paused = f"connection {connection} (contoso.crm crm; 127.0.0.1) is paused by a person: until six"
    assert f"needs a person  {paused}\n" in status.out
    assert "paused by a person: until six (since " in run("connections", "list").out
    assert run("connections", "resume", connection).out == f"{connection}: nothing was sent yet\n"
    assert one_line(run("connections", "resume", "nope"), 1).startswith("connection_id: ")
    assert one_line(run("connections", "pause", connection, "--note", " "), 2).startswith("note: ")
    assert one_line(run("connections", "pause", connection), 2).startswith("Missing option '--note'")


# Leads as they come


@pytest.mark.storage("azurite")
def test_leads_and_their_changes_are_shown_as_they_come_until_ctrl_c(
    routed: Pipeline, vendor: Vendor, terminal_with: AtATerminal
) -> None:
    vendor.answers(RETRY)
    lead = routed.post()
    routed.run()
    with terminal_with("leads", "list", "--follow") as terminal:
        terminal.wait_for("retry\n")
        vendor.works()
        routed.advance(15)
        terminal.wait_for("delivered\n")
        newer = routed.post(a_lead("two@example.com", OfferTitle="[red]x\x1b[31m"))
        routed.run()
        terminal.wait_for("unrouted\n")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0
    assert [line.split()[2:] for line in terminal.shown.splitlines()] == [
        [lead, "contoso.crm", "initial_interest", "retry"],
        [lead, "contoso.crm", "initial_interest", "delivered"],
        [newer, "-", "initial_interest", "unrouted"],
    ]


def test_what_follows_as_json_is_a_line_for_each_lead_and_ctrl_c_loses_no_answer(run: Run, routed: Pipeline) -> None:
    lead = routed.post()
    routed.run()
    with ctrl_c_during_the_answer():
        followed = run("leads", "list", "--follow", "--json", "--state", "delivered")
    assert (followed.status, followed.err) == (0, "")
    assert json.loads(followed.out)["lead_id"] == lead


def test_a_second_ctrl_c_does_not_wait_for_the_answer(run: Run, pipeline: Pipeline) -> None:
    with ctrl_c_during_the_answer(times=2):
        followed = run("leads", "list", "--follow")
    assert (followed.status, followed.out) == (130, "")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_goes_on_without_an_end_takes_no_end(run: Run) -> None:
    assert one_line(run("leads", "list", "--follow", "--until", "1h"), 2).startswith("--follow: ")
