"""The documents say what the code does: names, defaults, values, commands, examples and links."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from leads.cli import exits
from leads.cli.files import read_offers
from leads.core.identity import customer_hash, customer_identity, new_lead_id, received_at_of
from leads.core.lead import Lead, Source, Stage, stage_of
from leads.core.lead_parsing import UnreadableLead, parse_body
from leads.core.outcomes import Outcome
from leads.core.retry_schedule import SCHEDULE
from leads.core.states import State
from leads.destinations import MODULES, destination_class
from leads.destinations.base import Customer, OutgoingLead
from leads.destinations.follow_up import RATINGS, FollowUp
from leads.destinations.http import Answer
from leads.destinations.mapping import FIELDS, check_template
from leads.destinations.vendor_errors import ErrorKind, Problem
from leads.destinations.vendors import salesforce_web_to_lead as web_to_lead
from leads.destinations.vendors.azure_table.rows import to_entity
from leads.destinations.vendors.dataverse.errors import CODES, ENTRA_CODES
from leads.destinations.vendors.dataverse.records import DEFAULT_MAPPING, DO_NOT_CONTACT, RATING_COLUMN
from leads.destinations.vendors.marketo import RATE_LIMIT
from leads.destinations.vendors.marketo import records as marketo_records
from leads.destinations.vendors.marketo.errors import CODES as MARKETO_CODES
from leads.destinations.vendors.marketo.errors import MAYBE_DONE
from leads.destinations.vendors.marketo.journey import STAGES_KEPT
from leads.destinations.vendors.salesforce import errors as salesforce_errors
from leads.destinations.vendors.salesforce import records as salesforce
from leads.destinations.vendors.webhook import PAYLOAD_VERSION, classify, payload
from leads.offers.model import DestinationConfig, Offer, Policies, When, read_offer
from leads.platform.events import ALARMS, Event
from leads.platform.settings import Settings
from tests.support.command_line import command_names
from tools import generated_docs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.rglob("*.md")),
    ROOT / "samples/README.md",
    ROOT / "devhost/README.md",
]
UNITS = {"s": 1, "min": 60, "h": 3600}

CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (ROOT / name).read_text()


def section(name: str, heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    lines = page(name).splitlines()
    start = next(number for number, line in enumerate(lines) if line.lstrip("#").strip() == heading)
    level = len(lines[start]) - len(lines[start].lstrip("#"))
    ends = (n for n, line in enumerate(lines[start + 1 :], start + 1) if re.match(rf"#{{1,{level}}} ", line))
    return "\n".join(lines[start + 1 : next(ends, len(lines))])


def rows(name: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, cell by cell."""
    found = re.search(r"^\|.*\n\|[-|]+\|\n((?:\|.*\n?)+)", section(name, heading), re.MULTILINE)
    assert found, f"there is no table below {heading}"
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        for line in found[1].splitlines()
    ]


def table(name: str, heading: str) -> dict[str, list[str]]:
    """The first table below a heading: each name in the first column with the row's other cells."""
    found: dict[str, list[str]] = {}
    for first, *others in rows(name, heading):
        for key in re.findall(r"`([^`]+)`", first) or [first]:
            found[key] = others
    return found


def blocks(name: str, language: str) -> list[str]:
    return [text for lang, text in CODE_BLOCK.findall(page(name)) if lang == language]


def written(field: FieldInfo, name: str = "") -> str:
    """A field's default as the tables write it."""
    if name == "rating":
        return "by stage"
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, BaseModel):
        return {"When": "all leads", "Policies": "all defaults"}[type(default).__name__]
    if default is None or default == "":
        return "" if default == "" else "`null`"
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


# --- Configuration ------------------------------------------------------------------------------------------------------


def test_every_app_setting_is_documented_with_its_default_and_no_other() -> None:
    documented = table("docs/reference/configuration.md", "App settings")
    fields = {field.alias: field for field in Settings.model_fields.values()}
    assert documented.keys() == fields.keys()
    assert {name: cells[0] for name, cells in documented.items()} == {
        name: "min(32, CPUs + 4)" if field.default_factory else str(field.default or "")
        for name, field in fields.items()
    }


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Offers", Offer),
        ("Destinations", DestinationConfig),
        ("Follow-up", FollowUp),
        ("When", When),
        ("Policies", Policies),
    ],
)
def test_every_field_of_an_offer_is_documented_with_its_default(heading: str, model: type[BaseModel]) -> None:
    documented = table("docs/reference/configuration.md", heading)
    assert {name: cells[0] for name, cells in documented.items()} == {
        name: written(field, name) for name, field in model.model_fields.items()
    }


def test_every_value_of_a_policy_is_documented() -> None:
    documented = table("docs/reference/configuration.md", "Policies")
    for name, field in Policies.model_fields.items():
        for value in (value for value in get_args(field.annotation) if isinstance(value, str)):
            assert f"`{value}`" in documented[name][1], f"{name}: {value}"


def test_every_name_of_a_template_is_documented_and_no_other() -> None:
    documented = table("docs/reference/configuration.md", "Mapping")
    assert set(FIELDS) <= documented.keys()
    for name in documented:
        check_template("{" + name + "}")


def test_the_usual_rating_of_each_stage_is_documented() -> None:
    words = table("docs/reference/configuration.md", "Follow-up")["rating"][1].partition("Without it:")[2]
    for rating in ("hot", "warm", "cold"):
        stages = re.search(rf"([\w\- ]+?) `{rating}`", words)
        assert stages
        named = {stage.strip().replace(" ", "_").replace("-", "_") for stage in stages[1].split(" and ")}
        assert named == {stage.value for stage, usual in RATINGS.items() if usual == rating}


@pytest.mark.parametrize("type_name", MODULES)
def test_every_setting_of_a_destination_type_is_documented_with_its_default(type_name: str) -> None:
    if MODULES[type_name].startswith("tests."):
        pytest.skip("a type of the tests' own")
    documented = table(f"docs/reference/destinations/{type_name.replace('_', '-')}.md", "Settings")
    fields = destination_class(type_name).Settings.model_fields
    assert {name: cells[0] for name, cells in documented.items()} == {
        name: written(field).replace("`null`", "") for name, field in fields.items()
    }


def test_the_documented_values_of_host_json_are_the_files() -> None:
    host: dict[str, Any] = json.loads(page("host.json"))
    queues = host["extensions"]["queues"]
    text = " ".join(section("docs/reference/configuration.md", "host.json").split())
    for words in (
        f"takes {queues['batchSize']} messages at once (`batchSize`)",
        f"when {queues['newBatchThreshold']} are left (`newBatchThreshold`)",
        f"at most {queues['batchSize'] + queues['newBatchThreshold']}",
        f"{queues['maxDequeueCount']} tries (`maxDequeueCount`)",
        f"`{queues['visibilityTimeout']}` after a crash (`visibilityTimeout`)",
        f"once in `{queues['maxPollingInterval']}` (`maxPollingInterval`)",
        f"`functionTimeout` is `{host['functionTimeout']}`",
    ):
        assert words in text


# --- Leads --------------------------------------------------------------------------------------------------------------


def test_each_documented_lead_source_is_read_as_the_table_says() -> None:
    for text, cells in table("docs/reference/lead-format.md", "LeadSource").items():
        source = Source.parse(text)
        assert [source.source, source.action, source.offer_part] == cells


def test_every_stage_is_documented_with_its_action() -> None:
    documented = table("docs/reference/lead-format.md", "Stages")
    assert {stage_of(action) for action in documented} == set(Stage)
    for action, cells in documented.items():
        assert cells[0] == f"`{stage_of(action)}`"


def test_each_shape_reads_as_a_lead_of_its_offer() -> None:
    shapes = [parse_body(text.encode()) for text in blocks("docs/reference/lead-format.md", "json")]
    assert len(shapes) == 4
    assert all(lead.first_name and lead.email.endswith("@example.com") for lead in shapes)
    assert all("contoso" in (lead.offer_title + lead.offer_part).casefold() for lead in shapes)


def test_the_documented_problem_is_the_one_that_is_answered() -> None:
    with pytest.raises(UnreadableLead) as caught:
        parse_body((ROOT / "samples/03-test-lead-as-printed.json").read_bytes())
    answers = [json.loads(text) for text in blocks("docs/reference/http-api.md", "json")]
    (problem,) = [answer for answer in answers if "title" in answer]
    answered = (caught.value.status, caught.value.title, caught.value.detail, "body")
    assert (problem["status"], problem["title"], problem["detail"], problem["field"]) == answered


def test_the_readme_counts_the_samples_as_they_are() -> None:
    states = [sample["state"] for sample in json.loads(page("samples/expected.json")).values()]
    assert f"posts {len(states)} sample leads" in page("README.md")
    assert f"All {len(states)} samples are where they" in " ".join(page("README.md").split())


def test_every_column_of_the_table_is_documented() -> None:
    lead = parse_body((ROOT / "samples/01-https-example.json").read_bytes()).model_copy(update={"extra": {"a": "b"}})
    lead_id = new_lead_id(received_at_of("20260131235959999-0123456789ab-c"), Lead())
    outgoing = OutgoingLead(lead_id, lead, "contoso.crm", "table", Stage.PURCHASE, received_at_of(lead_id))
    assert (
        table("docs/reference/destinations/azure-table.md", "Columns").keys()
        == to_entity(outgoing, Customer("key")).keys()
    )


def test_every_column_and_code_of_dynamics_is_documented_and_no_other() -> None:
    columns = table("docs/reference/destinations/dataverse.md", "Default mapping").keys()
    assert columns == {*DEFAULT_MAPPING, *DO_NOT_CONTACT, RATING_COLUMN}
    documented = table("docs/reference/destinations/dataverse.md", "Errors, and what to do")
    codes = {code: cells[0] for code, cells in documented.items() if code.startswith(("0x", "AADSTS"))}
    for code, outcome in codes.items():
        if code.startswith("AADSTS"):
            assert int(code.removeprefix("AADSTS")) in ENTRA_CODES
        else:
            assert outcome == f"`{type(Problem(CODES[code][0], code).outcome()).__name__}`", code
    assert {f"AADSTS{number}" for number in ENTRA_CODES} <= codes.keys()
    to_be_mended = {
        code for code, (kind, _) in CODES.items() if kind in {ErrorKind.SETTINGS, ErrorKind.LEAD, ErrorKind.TOO_LONG}
    }
    assert to_be_mended <= codes.keys()


def test_every_field_and_code_of_salesforce_is_documented_and_no_other() -> None:
    page_name = "docs/reference/destinations/salesforce.md"
    fields = table(page_name, "Default mapping").keys()
    assert fields == {*salesforce.DEFAULT_MAPPING, *salesforce.DO_NOT_CONTACT, salesforce.RATING_FIELD}
    documented = table(page_name, "Errors, and what to do")
    decided_elsewhere = {"DUPLICATE_VALUE", "DUPLICATES_DETECTED"}
    for code, (kind, _) in salesforce_errors.CODES.items():
        if code in documented.keys() - decided_elsewhere:
            assert documented[code][0] == f"`{type(Problem(kind, code).outcome()).__name__}`", code
    to_be_mended = {
        ErrorKind.SETTINGS,
        ErrorKind.SIGN_IN_AGAIN,
        ErrorKind.LEAD,
        ErrorKind.FIELD,
        ErrorKind.TOO_LONG,
        ErrorKind.TRANSIENT,
    }
    wanted = {code for code, (kind, _) in salesforce_errors.CODES.items() if kind in to_be_mended}
    assert wanted | salesforce_errors.TOKEN_ERRORS.keys() | decided_elsewhere <= documented.keys()
    codes = {code for code in documented if re.fullmatch("[A-Z_]+", code)}
    assert codes <= salesforce_errors.CODES.keys()


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every field of a webhook's body with its type; open objects are one field."""
    if isinstance(value, dict) and value and place.rpartition(".")[2] not in {"extra", "campaign"}:
        for name, inner in value.items():
            yield from leaves(inner, f"{place}.{name}" if place else name)
    else:
        kinds: dict[type, str] = {str: "string", bool: "boolean", int: "integer", dict: "object of strings"}
        yield place, kinds[type(value)]


def test_the_webhooks_body_is_the_documented_one() -> None:
    example = next(
        shown
        for text in blocks("docs/reference/destinations/webhook.md", "json")
        if "data" in (shown := json.loads(text))
    )
    details = example["data"]["customer"]
    lead = Lead.model_validate(
        {name: details[name] for name in ("first_name", "last_name", "email", "phone", "company", "title", "country")}
        | {name: example["data"][name] for name in ("lead_source", "offer_title", "description")}
    )
    received = datetime.fromisoformat(example["timestamp"])
    outgoing = OutgoingLead(example["data"]["lead_id"], lead, "contoso.crm", "hook", Stage.CONTACT_REQUESTED, received)
    sent = payload(outgoing, Customer(customer_hash(customer_identity(lead, ""))))
    assert sent == example
    assert f"Version {PAYLOAD_VERSION}." in section("docs/reference/destinations/webhook.md", "The body")
    documented = table("docs/reference/destinations/webhook.md", "The body")
    assert {name: cells[0] for name, cells in documented.items()} == dict(leaves(sent))
    for stage in Stage:
        assert f"`{stage}`" in documented["data.stage"][1]


def test_every_status_of_a_webhook_is_documented_with_its_outcome() -> None:
    documented = table("docs/reference/destinations/webhook.md", "Errors, and what to do")
    for status in map(str, (301, 308, 400, 401, 403, 404, 405, 407, 408, 409, 410, 413, 422, 425, 429, 500)):
        families = {"3": "3xx", "4": "other 4xx"}
        cells = documented.get(status) or documented.get(families.get(status[0], "408"))
        assert cells is not None
        assert cells[0] == f"`{type(classify(Answer(int(status), {}, b''), 'id')).__name__}`", status


def test_every_field_and_status_of_web_to_lead_is_documented_as_it_is() -> None:
    name = "docs/reference/destinations/salesforce-web-to-lead.md"
    fields = table(name, "Default mapping")
    assert fields.keys() == {*web_to_lead.DEFAULT_MAPPING, *web_to_lead.DO_NOT_CONTACT, "Campaign_ID"}
    assert all(f"`{template}`" in fields[field][0] for field, template in web_to_lead.DEFAULT_MAPPING.items())
    statuses = {code: cells[0] for code, cells in table(name, "Errors, and what to do").items() if code.isdigit()}
    assert statuses == {
        code: f"`{type(web_to_lead.classify(Answer(int(code), {}, b''))).__name__}`" for code in statuses
    }
    assert {web_to_lead.HANDED_OVER, web_to_lead.DAILY_LIMIT, web_to_lead.NO_ALLOWANCE} <= table(
        name, "Errors, and what to do"
    ).keys()


def test_every_field_and_code_of_marketo_is_documented_and_no_other() -> None:
    fields = table("docs/reference/destinations/marketo.md", "Default mapping").keys()
    assert fields == {*marketo_records.DEFAULT_MAPPING, "rating", "doNotCall", "doNotCallReason"}
    documented = rows("docs/reference/destinations/marketo.md", "Errors, and what to do")
    outcomes = {(code, cells[0]) for codes, *cells in documented for code in re.findall(r"`(\w+)`", codes)}
    transient = {code for code, (kind, _) in MARKETO_CODES.items() if kind is ErrorKind.TRANSIENT}
    for code, (kind, words) in MARKETO_CODES.items():
        if code not in transient:
            outcome = (
                "Retry" if code in {"1004", "1005", "1007"} else type(Problem(kind, code, words).outcome()).__name__
            )
            assert code == "1017" or (code, f"`{outcome}`") in outcomes, code
    named = {code for code, _ in outcomes if code.isdigit()}
    assert named <= {*MARKETO_CODES, *MAYBE_DONE, "400", "404", "413"}


def test_marketos_rate_limit_is_documented_as_it_is() -> None:
    text = " ".join(page("docs/reference/destinations/marketo.md").split())
    calls = RATE_LIMIT.calls
    assert f"{calls} calls in {RATE_LIMIT.seconds:.0f} seconds and {RATE_LIMIT.at_once} at once" in text
    assert f"{calls / RATE_LIMIT.seconds} calls a second" in text
    assert f"the last {STAGES_KEPT} stages" in text


def test_the_measure_of_a_new_destination_is_the_webhooks_length() -> None:
    lines = len(page("leads/destinations/vendors/webhook.py").splitlines())
    assert f"`leads/destinations/vendors/webhook.py` has {lines} lines" in page(
        "docs/contributing/adding-a-destination.md"
    )


# --- How it works -------------------------------------------------------------------------------------------------------


def test_the_schedule_is_the_documented_one() -> None:
    text = section("docs/explanation/how-it-works.md", "The schedule").strip()
    steps = re.findall(r"(\d+) (s|min|h)\b", text.partition(", then")[0])
    assert tuple(int(number) * UNITS[unit] for number, unit in steps) == SCHEDULE


def test_every_outcome_is_documented() -> None:
    assert table("docs/explanation/how-it-works.md", "Outcomes").keys() == {kind.__name__ for kind in get_args(Outcome)}


def test_the_state_diagram_has_every_state() -> None:
    (diagram,) = blocks("docs/explanation/how-it-works.md", "mermaid")
    edges = re.findall(r"^ +(.+) -->(?:\|.+\|)? (.+)$", diagram, re.MULTILINE)
    assert {name for edge in edges for side in edge for name in side.split(" & ")} - {"post([post])"} == set(State)


# --- Operations ---------------------------------------------------------------------------------------------------------


def test_every_state_is_documented() -> None:
    assert table("docs/reference/events.md", "States").keys() == set(State)


@pytest.mark.parametrize("name", generated_docs.GENERATED)
def test_what_is_made_from_the_code_is_as_it_makes_it(name: str) -> None:
    assert generated_docs.made(name, page(name)) == page(name), "make docs"


def test_every_event_is_documented_and_each_alarm_with_its_end() -> None:
    alarms = table("docs/reference/events.md", "Alarms")
    assert {name: cells[1].partition(":")[0] for name, cells in alarms.items()} == {
        alarm: f"`{alarm.ended_by}`" if alarm.ended_by else "repeated" for alarm in ALARMS
    }
    others = table("docs/reference/events.md", "Log events")
    assert others.keys() == set(Event) - ALARMS - {alarm.ended_by for alarm in ALARMS}


def test_every_alarm_has_a_runbook_and_every_warning_its_remedy() -> None:
    name = "docs/how-to/on-call.md"
    documented = set(re.findall(r"^### `(\w+)`$", page(name), re.MULTILINE))
    assert {alarm.value for alarm in ALARMS} - documented == set()
    assert {event.runbook.partition("#")[2] for event in ALARMS} <= anchors(ROOT / name)
    assert all(len(section(name, f"`{each}`").strip()) > 80 for each in documented)
    assert table(name, "Warnings").keys() == {event for event in Event if event.level == logging.WARNING}


def test_every_command_is_documented_and_no_other_is_mentioned() -> None:
    known = set(command_names())
    usages = [row[0].strip("`").removeprefix("leads ") for row in rows("docs/reference/command-line.md", "Commands")]
    assert {re.sub(r" \[?[A-Z]+\]?$", "", usage) for usage in usages} == known


def test_every_exit_status_is_documented() -> None:
    statuses = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    documented = re.findall(r"`(\d+)`", section("docs/reference/command-line.md", "Exit statuses"))
    assert sorted(map(int, documented)) == sorted(statuses)
    assert {
        int(number) for number in re.findall(r"exit status (?:is )?(\d+)", page("docs/how-to/connect.md"))
    } <= statuses


def test_the_yaml_of_the_walk_is_offers(tmp_path: Path) -> None:
    (text,) = blocks("docs/how-to/ci.md", "yaml")
    file = tmp_path / "offers.yaml"
    file.write_text(text)
    first, rest = read_offers(str(file))
    assert (first.destinations[0].when.country, rest.id) == (["DE", "NO"], "*")


# --- Commands, examples, links ------------------------------------------------------------------------------------------


def test_every_layer_of_tests_is_documented() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    beside = {f"tests/{name}" for name in folders if not (ROOT / "leads" / name).is_dir()}
    assert table("docs/contributing/testing.md", "Tests").keys() == {
        "tests/FOLDER",
        "tests/destinations/faults",
        *beside,
    }


def test_every_make_command_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    mentioned = {
        (path.name, target)
        for path in PAGES
        for target in re.findall(r"(?:^ {4}|`)(?:[A-Z]+=\S+ )*make ([a-z]+)", path.read_text(), re.MULTILINE)
    }
    assert {target for name, target in mentioned if name == "README.md"} >= {"run", "test"}
    assert {(name, target) for name, target in mentioned if target not in targets} == set()


def offers_in(name: str) -> list[Any]:
    return [example for text in blocks(name, "json") if "destinations" in (example := json.loads(text))]


def test_every_example_of_an_offer_is_valid() -> None:
    examples = offers_in("docs/reference/configuration.md")
    assert examples
    for example in examples:
        read_offer(example)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings as GitHub makes them."""
    headings = HEADING.findall(CODE_BLOCK.sub("", path.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in LINK.findall(CODE_BLOCK.sub("", path.read_text())):
        if target.startswith(
            ("https://", "http://", "../../actions/")
        ):  # the last is a page of the repository on GitHub
            continue
        file, _, anchor = unquote(target).partition("#")
        other = (path.parent / file).resolve() if file else path
        assert other.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(other), f"{path.name}: {target}"


def linked_from(path: Path) -> set[Path]:
    targets = (target.partition("#")[0] for target in LINK.findall(path.read_text()))
    return {(path.parent / target).resolve() for target in targets if target.endswith(".md")}


def test_every_page_of_the_documentation_is_within_two_clicks_of_the_readme() -> None:
    first = linked_from(ROOT / "README.md")
    reached = first.union(*(linked_from(path) for path in first))
    assert {path for path in DOCS.rglob("*.md") if path not in reached} == set()


def test_the_code_map_names_each_entry_of_the_product_and_of_the_repository() -> None:
    listing = section("CONTRIBUTING.md", "Find your way in the code")
    in_leads = set(re.findall(r"^      ([\w.]+/?)", listing, re.MULTILINE))
    modules = (path.relative_to(ROOT / "leads").parts for path in (ROOT / "leads").rglob("*.py"))
    entries = {f"{first}/" if inside else first for first, *inside in modules}
    assert in_leads == {name for name in entries if not name.startswith("__")}
    beside = set(re.findall(r"^    ([\w.]+/?)", listing, re.MULTILINE))
    assert {name for name in beside if not (ROOT / name).exists()} == set()
