"""The queries of the alert rules and the workbook: parsed by Microsoft's parser, and run over lines that the app has logged."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from leads.events import ALARMS, Event, emit
from leads.replay import CORRECTABLE
from leads.rows import DONE, State
from leads.watching import WAIT_IS_LONG
from tests.infra import promises
from tests.infra.bicep import INFRA, ROOT, Deployment
from tests.infra.conftest import Predicted
from tools.azurite import node_executable

QUERIES = {path.stem: path.read_text() for path in sorted(INFRA.glob("queries/*.kql"))}
NODE_PACKAGES = ROOT / ".tools/node/node_modules"
SCANNERS = ROOT / ".venv/scanners/bin/python"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

# The columns that the queries may use, as Kusto and as SQL names their types. Microsoft Learn, "Azure Monitor Logs table
# reference", pages AppTraces and AppRequests.
TABLES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "AppTraces": {
        "TimeGenerated": ("datetime", "TIMESTAMP"),
        "Message": ("string", "VARCHAR"),
        "SeverityLevel": ("int", "INTEGER"),
        "OperationId": ("string", "VARCHAR"),
    },
    "AppRequests": {
        "TimeGenerated": ("datetime", "TIMESTAMP"),
        "OperationName": ("string", "VARCHAR"),
        "OperationId": ("string", "VARCHAR"),
        "ResultCode": ("string", "VARCHAR"),
        "Success": ("bool", "BOOLEAN"),
        "DurationMs": ("real", "DOUBLE"),
    },
}


# --- Parsed -------------------------------------------------------------------------------------------------------------


def parse(queries: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """The problems and the result's columns of each query."""
    tables = {
        table: f"({', '.join(f'{name}: {kind}' for name, (kind, _) in columns.items())})"
        for table, columns in TABLES.items()
    }
    command = [str(node_executable()), str(ROOT / "tests/infra/kql.cjs"), str(NODE_PACKAGES)]
    given = json.dumps({"tables": tables, "queries": queries})
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="session")
def parsed() -> dict[str, dict[str, list[str]]]:
    return parse(QUERIES)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_correct_and_names_columns_that_there_are(name: str, parsed: dict[str, Any]) -> None:
    assert parsed[name]["problems"] == []
    assert parsed[name]["columns"]


def test_a_mistake_would_be_found() -> None:
    wrong = {"column": "AppTraces | where Mesage == ''", "word": "AppTraces | wheer true", "table": "Traces | take 1"}
    assert all(answer["problems"] for answer in parse(wrong).values())


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_names_only_events_fields_and_functions_of_the_code(name: str) -> None:
    assert promises.unknown_words(QUERIES[name]) == set()


def test_the_states_that_a_query_names_are_those_of_the_code() -> None:
    query = QUERIES["oldest_undelivered"]
    ((ends,), (corrected,)) = (re.findall(rf"state {word} \(([^)]*)\)", query) for word in ("!in", "in"))
    assert set(json.loads(f"[{ends}]")) == DONE
    never_tried = {State.UNREADABLE}
    assert set(json.loads(f"[{corrected}]")) == CORRECTABLE - DONE - never_tried


# --- Deployed -----------------------------------------------------------------------------------------------------------


def test_each_alarm_of_the_code_has_a_rule_of_its_name(production: Deployment) -> None:
    assert promises.unwatched_alarms(production) == set()
    assert {alarm.value for alarm in ALARMS} <= promises.rule_queries(production).keys()


def test_a_rule_that_is_no_alarm_watches_what_the_app_cannot_say(production: Deployment) -> None:
    others = promises.rule_queries(production).keys() - {alarm.value for alarm in ALARMS}
    assert others == {"intake_failed", "oldest_undelivered", "app_silent"}


def test_the_documents_say_how_many_rules_there_are_and_what_they_cost(production: Deployment) -> None:
    rules = production.of_type("Microsoft.Insights/scheduledQueryRules")
    metrics = production.of_type("Microsoft.Insights/metricAlerts")
    prices = {"PT5M": 1.50, "PT15M": 0.50}
    cost = sum(prices[rule["properties"]["evaluationFrequency"]] for rule in rules) + 0.10 * len(metrics)
    documented = (ROOT / "docs/deploy.md").read_text()
    assert f"| {len(rules) + len(metrics)} alert rules | {cost:.2f} |" in documented
    assert f"The alert rules: about {cost:.0f} USD a month." in documented
    assert f"about {cost:.0f} USD a month" in (INFRA / "main.bicep").read_text()


def test_what_to_do_about_an_alert_is_where_the_alert_says(production: Deployment) -> None:
    operations = (ROOT / "docs/operations.md").read_text()
    for kind in ("Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts"):
        for rule in production.of_type(kind):
            name = rule["name"].rpartition("-")[2]
            assert f"| `{name}` |" in operations
            assert rule["properties"]["description"].endswith(f"docs/operations.md, {name}.")


def test_every_query_is_in_a_rule_or_in_the_workbook_as_it_is(production: Deployment) -> None:
    deployed = [*promises.rule_queries(production).values(), *promises.workbook_queries(production).values()]
    assert sorted(deployed) == sorted(QUERIES.values())
    for name, query in promises.rule_queries(production).items():
        assert query == QUERIES[name]


def test_a_rule_tells_alerts_apart_by_what_its_alarm_is_about(production: Deployment, parsed: dict[str, Any]) -> None:
    for rule in production.of_type("Microsoft.Insights/scheduledQueryRules"):
        name = rule["name"].rpartition("-")[2]
        split = [column["name"] for column in rule["properties"]["criteria"]["allOf"][0]["dimensions"]]
        assert set(split) <= set(parsed[name]["columns"]), name
        if name in Event and (alarm := Event(name)).ended_by:
            assert tuple(split) == alarm.about, name
            assert rule["properties"]["windowSize"] == "P2D", "as long as a rule may look back"
            assert f"event={alarm.ended_by} " in QUERIES[name]


def test_a_rule_fires_on_one_row_and_ends_by_itself(production: Deployment) -> None:
    for rule in production.of_type("Microsoft.Insights/scheduledQueryRules"):
        properties = rule["properties"]
        (criterion,) = properties["criteria"]["allOf"]
        assert (criterion["operator"], criterion["threshold"], criterion["timeAggregation"]) == (
            "GreaterThan",
            0,
            "Count",
        )
        assert properties["autoMitigate"] and properties["enabled"]
        assert properties["scopes"] == [production.the("Microsoft.OperationalInsights/workspaces")["id"]]


def test_what_the_platform_refuses_is_watched_in_its_metrics(production: Deployment) -> None:
    alerts = production.of_type("Microsoft.Insights/metricAlerts")
    watched = {one["properties"]["criteria"]["allOf"][0]["metricName"]: one for one in alerts}
    assert watched.keys() == {"Http401", "Http403", "Http404", "Http5xx"}
    for alert in alerts:
        assert alert["properties"]["scopes"] == [production.the("Microsoft.Web/sites")["id"]]
    tolerated = {name: one["properties"]["criteria"]["allOf"][0]["threshold"] for name, one in watched.items()}
    assert tolerated == {"Http401": 3, "Http403": 3, "Http404": 3, "Http5xx": 0}


def test_every_alert_reaches_the_people_who_were_named(production: Deployment) -> None:
    (people,) = production.of_type("Microsoft.Insights/actionGroups")
    assert [one["emailAddress"] for one in people["properties"]["emailReceivers"]] == [
        "on-call@example.com",
        "sales@example.com",
    ]
    for rule in production.of_type("Microsoft.Insights/scheduledQueryRules"):
        assert rule["properties"]["actions"]["actionGroups"] == [people["id"]]
    for rule in production.of_type("Microsoft.Insights/metricAlerts"):
        assert rule["properties"]["actions"] == [{"actionGroupId": people["id"]}]


def test_a_development_environment_can_do_without_alerts(predicted: Predicted) -> None:
    kinds = {one["type"] for one in predicted("development").resources}
    assert not kinds & {"Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts"}
    assert "Microsoft.Insights/workbooks" in kinds


# --- Run ----------------------------------------------------------------------------------------------------------------


@dataclass
class Logs:
    """A workspace's tables, filled by the app's own `emit`."""

    caplog: pytest.LogCaptureFixture
    engine: subprocess.Popen[str]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"AppTraces": [], "AppRequests": []})

    def event(self, minutes_ago: float, event: Event, **fields: str | int | float | None) -> None:
        self.caplog.clear()
        emit(event, TRACEPARENT if "lead_id" in event.fields else "", **fields)
        (record,) = [record for record in self.caplog.records if record.name == "leads"]
        self.rows["AppTraces"].append({"TimeGenerated": _at(minutes_ago), "Message": record.getMessage()})

    def attempt(self, minutes_ago: float, lead_id: str, destination: str = "crm", **fields: str) -> None:
        said = {"offer": "contoso.crm", "stage": "trial", "outcome": "delivered", "code": "", "state": "delivered"}
        self.event(minutes_ago, Event.LEAD_ATTEMPTED, lead_id=lead_id, destination=destination, **{**said, **fields})

    def request(self, minutes_ago: float, function: str, code: str = "200", success: bool = True) -> None:
        self.rows["AppRequests"].append(
            {"TimeGenerated": _at(minutes_ago), "OperationName": function, "ResultCode": code, "Success": success}
        )

    def ask(self, name: str) -> list[dict[str, Any]]:
        """The rows that the query of this name gives."""
        assert self.engine.stdin is not None and self.engine.stdout is not None
        self.engine.stdin.write(json.dumps({"rows": self.rows, "query": QUERIES[name]}) + "\n")
        self.engine.stdin.flush()
        rows: list[dict[str, Any]] = json.loads(self.engine.stdout.readline() or "null")
        assert rows is not None, "the engine has ended: its error stands above"
        return rows


def _at(minutes_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes_ago)).replace(tzinfo=None).isoformat()


@pytest.fixture(scope="session")
def engine() -> Iterator[subprocess.Popen[str]]:
    """Runs queries, one after the other."""
    command = [str(SCANNERS), str(ROOT / "tests/infra/run_queries.py")]
    columns = {table: {column: kind for column, (_, kind) in made.items()} for table, made in TABLES.items()}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(columns) + "\n")
        yield process
        process.terminate()


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture, engine: subprocess.Popen[str]) -> Logs:
    caplog.set_level(logging.INFO, "leads")
    return Logs(caplog, engine)


@cache
def made_up(name: str) -> str | int:
    numbers = {"bytes", "failures", "minutes", "count", "within", "days", "ceiling", "hours", "expected", "seq"}
    return 7 if name in numbers else f"some-{name}"


@pytest.mark.parametrize("alarm", sorted(ALARMS))
def test_an_alarm_that_is_logged_is_found_with_what_it_is_about(alarm: Event, logs: Logs) -> None:
    assert logs.ask(alarm) == []
    logs.event(5, alarm, **{name: made_up(name) for name in alarm.fields})
    (row,) = logs.ask(alarm)
    for name in alarm.about:
        assert str(row[name]) == str(made_up(name))


@pytest.mark.parametrize("alarm", sorted(alarm for alarm in ALARMS if alarm.ended_by))
def test_an_alarm_is_off_once_its_end_is_logged_and_on_when_it_begins_again(alarm: Event, logs: Logs) -> None:
    assert alarm.end is not None
    fields = {name: made_up(name) for name in alarm.fields}
    about = {name: fields[name] for name in alarm.about}
    logs.event(50, alarm, **fields)
    logs.event(40, alarm.end, **about)
    assert logs.ask(alarm) == []
    logs.event(30, alarm, **{**fields, alarm.about[0]: "another"})
    (row,) = logs.ask(alarm)
    assert row[alarm.about[0]] == "another"
    logs.event(20, alarm, **fields)
    assert len(logs.ask(alarm)) == 2


def test_a_5xx_of_the_intake_is_found_and_no_other_answer(logs: Logs) -> None:
    logs.request(3, "accept_lead", "202")
    logs.request(2, "accept_lead", "400", success=False)
    logs.request(2, "manage", "503", success=False)
    assert logs.ask("intake_failed") == []
    logs.request(1, "accept_lead", "503", success=False)
    assert [row["ResultCode"] for row in logs.ask("intake_failed")] == ["503"]


def test_an_app_is_silent_when_its_timer_has_not_run_well(logs: Logs) -> None:
    logs.request(2, "accept_lead", "202")
    logs.request(1, "watch", "", success=False)
    assert len(logs.ask("app_silent")) == 1
    logs.request(1, "watch", "")
    assert logs.ask("app_silent") == []


LONG = WAIT_IS_LONG.total_seconds() / 60 + 5


def undelivered(logs: Logs) -> tuple[int, float]:
    """How many leads wait too long, and the age of the oldest in minutes."""
    found = logs.ask("oldest_undelivered")
    return (found[0]["leads"], found[0]["minutes"]) if found else (0, 0)


def test_a_lead_that_nothing_is_said_of_waits_on_the_queue(logs: Logs) -> None:
    logs.event(LONG - 10, Event.LEAD_ACCEPTED, lead_id="young")
    assert undelivered(logs) == (0, 0)
    logs.event(LONG, Event.LEAD_ACCEPTED, lead_id="lead")
    count, minutes = undelivered(logs)
    assert (count, round(minutes)) == (1, LONG)


def test_a_lead_that_is_delivered_waits_no_more(logs: Logs) -> None:
    logs.event(LONG, Event.LEAD_ACCEPTED, lead_id="lead")
    logs.attempt(LONG - 1, "lead", state="retry", outcome="retry")
    assert undelivered(logs)[0] == 1
    logs.attempt(2, "lead")
    assert undelivered(logs) == (0, 0)


def test_a_lead_waits_until_its_last_destination_has_it(logs: Logs) -> None:
    logs.event(LONG, Event.LEAD_ACCEPTED, lead_id="lead")
    logs.attempt(LONG, "lead", "table")
    logs.attempt(LONG, "lead", "crm", state="parked", outcome="misconfigured")
    assert undelivered(logs)[0] == 1
    logs.attempt(1, "lead", "crm")
    assert undelivered(logs) == (0, 0)


def test_an_unrouted_lead_waits_until_an_offer_takes_it(logs: Logs) -> None:
    logs.event(LONG, Event.LEAD_ACCEPTED, lead_id="lead")
    logs.event(LONG, Event.LEAD_UNROUTED, lead_id="lead")
    assert undelivered(logs)[0] == 1
    logs.attempt(1, "lead")
    assert undelivered(logs) == (0, 0)


@pytest.mark.parametrize("state", sorted(DONE))
@pytest.mark.parametrize("destination", ["", "crm"])
def test_a_lead_that_is_at_an_end_does_not_wait(state: State, destination: str, logs: Logs) -> None:
    logs.event(LONG, Event.LEAD_ACCEPTED, lead_id="lead")
    logs.event(LONG, Event.LEAD_SETTLED, lead_id="lead", destination=destination, stage="trial", state=state)
    assert undelivered(logs) == (0, 0)


def test_a_lead_that_crashed_waits_until_it_is_given_up(logs: Logs) -> None:
    logs.event(LONG, Event.LEAD_ACCEPTED, lead_id="lead")
    logs.event(LONG, Event.LEAD_CRASHED, lead_id="lead", offer="o", destination="crm", code="crash")
    assert undelivered(logs)[0] == 1
    logs.event(1, Event.LEAD_DEAD_LETTERED, lead_id="lead", offer="o", destination="crm", code="crash")
    assert undelivered(logs) == (0, 0)


def test_a_lead_whose_customer_was_erased_waits_nowhere(logs: Logs) -> None:
    for lead in ("on-the-queue", "on-its-way", "another"):
        logs.event(LONG, Event.LEAD_ACCEPTED, lead_id=lead)
    logs.attempt(LONG, "on-its-way", "crm", state="parked", outcome="misconfigured")
    logs.attempt(LONG, "on-its-way", "table", state="retry", outcome="retry")
    assert undelivered(logs)[0] == 3
    logs.event(2, Event.LEAD_EMPTIED, lead_id="on-the-queue")
    logs.event(2, Event.LEAD_EMPTIED, lead_id="on-its-way")
    logs.attempt(1, "on-its-way", "crm", state="erased", outcome="retry")
    assert undelivered(logs)[0] == 1


def test_an_imported_lead_waits_like_one_that_was_posted(logs: Logs) -> None:
    logs.event(LONG - 10, Event.LEAD_IMPORTED, lead_id="young")
    logs.event(LONG, Event.LEAD_IMPORTED, lead_id="lead")
    assert undelivered(logs)[0] == 1
    logs.event(LONG, Event.LEAD_SETTLED, lead_id="lead", destination="crm", stage="trial", state="skipped")
    assert undelivered(logs) == (0, 0)


def test_a_lead_that_comes_in_twice_is_one(logs: Logs) -> None:
    logs.event(LONG, Event.LEAD_IMPORTED, lead_id="lead")
    logs.event(LONG - 1, Event.LEAD_IMPORTED, lead_id="lead")
    assert undelivered(logs) == (1, LONG)


def test_a_lead_that_is_sent_again_waits_from_then_on(logs: Logs) -> None:
    again = {"lead_id": "lead", "offer": "o", "destination": "crm", "state": "dead_letter"}
    logs.event(5 * LONG, Event.LEAD_ACCEPTED, lead_id="lead")
    logs.event(5 * LONG, Event.LEAD_DEAD_LETTERED, lead_id="lead", offer="o", destination="crm", code="400")
    logs.event(LONG - 10, Event.LEAD_REPLAYED, **again)
    assert undelivered(logs) == (0, 0)
    logs.event(2 * LONG, Event.LEAD_REPLAYED, **again | {"destination": "table"})
    assert undelivered(logs) == (1, 2 * LONG), "the other destination"
    logs.attempt(1, "lead", "table")
    logs.attempt(1, "lead", "crm")
    assert undelivered(logs) == (0, 0)


@pytest.mark.parametrize("destination", ["", "crm"])
def test_a_lead_of_long_ago_that_is_sent_again_waits_as_well(destination: str, logs: Logs) -> None:
    logs.event(LONG, Event.LEAD_REPLAYED, lead_id="lead", offer="o", destination=destination, state="held")
    assert undelivered(logs) == (1, LONG)
    logs.attempt(LONG, "lead", "crm", state="retry", outcome="retry")
    assert undelivered(logs) == (1, LONG)
    logs.attempt(1, "lead", "crm")
    assert undelivered(logs) == (0, 0)


@pytest.mark.parametrize("event", [Event.LEAD_UNROUTED, Event.LEAD_CRASHED])
def test_of_a_corrected_lead_the_correction_waits(event: Event, logs: Logs) -> None:
    logs.event(3 * LONG, Event.LEAD_ACCEPTED, lead_id="wrong")
    logs.event(2 * LONG, event, lead_id="wrong", offer="o", destination="")
    assert undelivered(logs) == (1, 3 * LONG)
    logs.event(LONG, Event.LEAD_CORRECTED, lead_id="wrong", offer="o", corrected_as="right")
    assert undelivered(logs) == (1, LONG)
    logs.attempt(1, "right")
    assert undelivered(logs) == (0, 0)


def test_a_corrected_lead_waits_on_where_it_was_on_its_way(logs: Logs) -> None:
    logs.event(3 * LONG, Event.LEAD_ACCEPTED, lead_id="lead")
    logs.event(3 * LONG, Event.LEAD_DEAD_LETTERED, lead_id="lead", offer="o", destination="crm", code="400")
    logs.attempt(3 * LONG, "lead", "table", state="parked", outcome="misconfigured")
    logs.event(LONG, Event.LEAD_CORRECTED, lead_id="lead", offer="o", corrected_as="right")
    logs.attempt(1, "right")
    assert undelivered(logs) == (1, 3 * LONG)


def test_the_workbook_counts_each_lead_once_by_offer_and_stage(logs: Logs) -> None:
    logs.attempt(3, "one", state="retry", outcome="retry")
    logs.attempt(2, "one")
    logs.attempt(2, "two", "table")
    logs.attempt(2, "two", "crm")
    logs.attempt(2, "three", stage="purchase")
    counts = {row["offer_and_stage"]: row["leads"] for row in logs.ask("leads_per_day")}
    assert counts == {"contoso.crm trial": 2, "contoso.crm purchase": 1}


def test_the_workbook_measures_from_the_arrival_to_the_crm(logs: Logs) -> None:
    logs.event(10, Event.LEAD_ACCEPTED, lead_id="lead")
    logs.attempt(9, "lead", state="retry", outcome="retry")
    logs.attempt(8, "lead")
    (row,) = logs.ask("time_to_crm")
    assert (row["destination"], row["leads"]) == ("crm", 1)
    assert row["slowest"] == pytest.approx(120, abs=2)


def test_the_workbook_counts_failures_by_destination_and_code(logs: Logs) -> None:
    logs.attempt(3, "one", state="retry", outcome="retry", code="503")
    logs.attempt(2, "one", state="retry", outcome="retry", code="503")
    logs.attempt(1, "two", state="parked", outcome="misconfigured", code="401")
    logs.attempt(1, "three")
    found = {(row["code"], row["attempts"], row["leads"]) for row in logs.ask("failures_by_destination")}
    assert found == {("503", 2, 1), ("401", 1, 1)}


def test_the_workbook_shows_the_last_that_was_said_of_a_connection(logs: Logs) -> None:
    logs.event(9, Event.CONNECTION_PAUSED, connection="a", type="webhook", code="401")
    logs.event(8, Event.CONNECTION_PROBED, connection="a", type="webhook", ok=False, code="401")
    logs.event(9, Event.CONNECTION_PAUSED, connection="b", type="marketo", code="601")
    logs.event(7, Event.CONNECTION_OPENED, connection="b")
    logs.event(6, Event.CONNECTION_PAUSED_BY_PERSON, connection="c")
    found = {row["connection"]: (row["type"], row["health"]) for row in logs.ask("connection_health")}
    assert found == {"a": ("webhook", "not working"), "b": ("marketo", "working"), "c": ("", "paused by a person")}
