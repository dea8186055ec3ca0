"""The queries of the alert rules and the workbook: parsed by Microsoft's parser, and run over lines that the app has logged."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from leads.core.states import CORRECTABLE, DONE, State
from leads.platform.events import ALARMS, Event, emit, named
from leads.watch.conditions import WAIT_IS_LONG
from tests.infra import promises
from tests.infra.bicep import INFRA, ROOT, Deployment
from tests.infra.conftest import Predicted
from tools.azurite import node_executable

QUERIES = {path.stem: path.read_text() for path in sorted(INFRA.glob("queries/*.kql"))}
LOG_RULE = "Microsoft.Insights/scheduledQueryRules"
NODE_PACKAGES = ROOT / ".tools/node/node_modules"
SCANNERS = ROOT / ".venv/scanners/bin/python"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

# The columns that the queries may use, as Kusto and as SQL names their types. Microsoft Learn, "Azure Monitor Logs table
# reference", pages AppTraces, AppRequests and AppExceptions.
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
    "AppExceptions": {
        "TimeGenerated": ("datetime", "TIMESTAMP"),
        "OperationName": ("string", "VARCHAR"),
        "OperationId": ("string", "VARCHAR"),
        "OuterMessage": ("string", "VARCHAR"),
        "InnermostMessage": ("string", "VARCHAR"),
        "Details": ("dynamic", "VARCHAR"),
    },
}

# What the same tables are called in the Logs of Application Insights itself. Microsoft Learn, "Migrate to workspace-based
# Application Insights resources", section "Table structure".
IN_APPLICATION_INSIGHTS: Mapping[str, Mapping[str, str]] = {
    "traces": {"timestamp": "datetime", "message": "string", "operation_Id": "string"},
    "requests": {"timestamp": "datetime", "name": "string", "resultCode": "string", "operation_Id": "string"},
    "exceptions": {"timestamp": "datetime", "type": "string", "problemId": "string", "operation_Id": "string"},
}


# --- Parsed -------------------------------------------------------------------------------------------------------------


Parse = Callable[[Mapping[str, str]], Mapping[str, Mapping[str, list[str]]]]
"""Gives the problems and the result's columns of each query."""


@contextmanager
def answering(command: Sequence[str | Path], first: object) -> Iterator[Callable[[object], Any]]:
    """A process that answers each line of JSON with another, until the block ends. `first` is a line without an answer."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        questions, answers = process.stdin, process.stdout
        assert questions is not None and answers is not None
        print(json.dumps(first), file=questions, flush=True)

        def ask(question: object) -> Any:
            print(json.dumps(question), file=questions, flush=True)
            answer = answers.readline()
            assert answer, "the process has ended: its error stands above"
            return json.loads(answer)

        yield ask
        process.terminate()


@pytest.fixture(scope="module")
def parse() -> Iterator[Parse]:
    in_rules = {table: {name: kind for name, (kind, _) in columns.items()} for table, columns in TABLES.items()}
    tables = {
        table: f"({', '.join(f'{name}: {kind}' for name, kind in columns.items())})"
        for table, columns in {**in_rules, **IN_APPLICATION_INSIGHTS}.items()
    }
    with answering([node_executable(), ROOT / "tests/infra/kql.cjs", NODE_PACKAGES], tables) as ask:
        yield ask


@pytest.fixture(scope="module")
def parsed(parse: Parse) -> Mapping[str, Mapping[str, list[str]]]:
    return parse(QUERIES)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_correct_and_names_columns_that_there_are(name: str, parsed: dict[str, Any]) -> None:
    assert parsed[name]["problems"] == []
    assert parsed[name]["columns"]


def test_the_documents_query_for_one_lead_is_correct(parse: Parse) -> None:
    text = (ROOT / "docs/reference/events.md").read_text().partition("```kusto\n")[2].partition("```")[0]
    assert parse({"one lead": text})["one lead"] == {
        "problems": [],
        "columns": ["timestamp", "operation_Id", "what", "detail"],
    }


def test_a_mistake_would_be_found(parse: Parse) -> None:
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
    assert others == {"intake_failed", "intake_unread", "oldest_undelivered", "app_silent"}


def test_what_to_do_about_an_alert_is_where_the_alert_says(production: Deployment) -> None:
    page = "docs/how-to/on-call.md"
    sections = set(re.findall(r"^### `(\w+)`$", (ROOT / page).read_text(), re.MULTILINE))
    on_logs = promises.alerts_on_logs(production)
    for name, alert in on_logs.items():
        assert alert.runbook == f"{page}#{name}"
    on_metrics = metric_rules(production)
    for name, rule in on_metrics.items():
        assert rule["description"].endswith(f"{page}#{name.lower()}.")
    assert {*on_logs, *on_metrics} - sections == set()


def test_each_alarm_has_a_text_of_its_own(production: Deployment) -> None:
    titles = [alert.title for alert in promises.alerts_on_logs(production).values()]
    assert len(set(titles)) == len(titles)


def test_the_queries_of_a_severity_are_one_correct_query(production: Deployment, parse: Parse) -> None:
    rules = production.of_type(LOG_RULE)
    assert [rule["properties"]["severity"] for rule in rules] == [0, 1, 2]
    answers = parse({rule["name"]: rule["properties"]["criteria"]["allOf"][0]["query"] for rule in rules})
    for rule in rules:
        split = [column["name"] for column in rule["properties"]["criteria"]["allOf"][0]["dimensions"]]
        assert split == ["alarm", "title", "about", "runbook"]
        assert answers[rule["name"]] == {"problems": [], "columns": ["TimeGenerated", *split]}
        assert rule["properties"]["windowSize"] == "P2D", "as long as a rule may look back"


def test_every_query_is_in_a_rule_or_in_the_workbook_as_it_is(production: Deployment) -> None:
    deployed = [*promises.rule_queries(production).values(), *promises.workbook_queries(production).values()]
    assert sorted(deployed) == sorted(QUERIES.values())
    for name, query in promises.rule_queries(production).items():
        assert query == QUERIES[name]


def test_a_rule_tells_alerts_apart_by_what_its_alarm_is_about(production: Deployment, parsed: dict[str, Any]) -> None:
    for name, alert in promises.alerts_on_logs(production).items():
        assert {"TimeGenerated", *alert.about} <= set(parsed[name]["columns"]), name
        if (alarm := named(name)) is not None and alarm.ended_by:
            assert alert.about == alarm.about, name
            assert alert.window == "2d", "as long as a rule may look back"
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


def metric_rules(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """The rules on metrics by their names; the one of the availability test is of another kind."""
    alerts = deployment.of_type("Microsoft.Insights/metricAlerts")
    return {alert["name"].rpartition("-")[2]: alert["properties"] for alert in alerts}


def test_what_the_platform_refuses_is_watched_in_its_metrics(production: Deployment) -> None:
    rules = metric_rules(production)
    for name in ("Http401", "Http403", "Http404", "Http5xx"):
        (criterion,) = rules[name]["criteria"]["allOf"]
        assert rules[name]["scopes"] == [production.the("Microsoft.Web/sites")["id"]]
        assert (criterion["metricName"], criterion["operator"], criterion["threshold"]) == (name, "GreaterThan", 3)


def test_storage_tells_of_its_own_outage_within_minutes(production: Deployment) -> None:
    rule = metric_rules(production)["StorageAvailability"]
    (criterion,) = rule["criteria"]["allOf"]
    assert rule["scopes"] == [production.the("Microsoft.Storage/storageAccounts")["id"]]
    assert (criterion["metricName"], criterion["metricNamespace"]) == (
        "Availability",
        "Microsoft.Storage/storageAccounts",
    )
    assert (criterion["timeAggregation"], criterion["operator"], criterion["threshold"]) == ("Average", "LessThan", 90)
    assert (rule["severity"], rule["evaluationFrequency"]) == (0, "PT5M")


def test_the_app_is_asked_from_outside_whether_it_answers(production: Deployment) -> None:
    test = production.the("Microsoft.Insights/webtests")
    asked = test["properties"]
    assert asked["Enabled"] and asked["Kind"] == test["kind"] == "standard"
    assert production.the("Microsoft.Web/sites")["name"] in asked["Request"]["RequestUrl"]
    assert "'https://{0}/api/health'" in asked["Request"]["RequestUrl"]
    assert asked["ValidationRules"]["ExpectedHttpStatusCode"] == 200
    rule = metric_rules(production)["app_unreachable"]
    criteria, insights = rule["criteria"], production.the("Microsoft.Insights/components")["id"]
    assert (criteria["webTestId"], criteria["componentId"]) == (test["id"], insights)
    assert set(rule["scopes"]) == {test["id"], insights}
    assert 1 < criteria["failedLocationCount"] < len(asked["Locations"]), "one place alone may have trouble of its own"
    assert asked["Frequency"] == 900 and rule["windowSize"] == "PT15M", "each place has asked once in the window"
    assert rule["severity"] == 0


def test_what_a_sender_can_bring_about_by_itself_wakes_nobody(production: Deployment) -> None:
    rules = {name: alert.rule for name, alert in promises.alerts_on_logs(production).items()}
    severities = {name: rule["severity"] for name, rule in {**rules, **metric_rules(production)}.items()}
    wakes = {name for name, severity in severities.items() if severity == 0}
    stops = {"intake_unavailable", "intake_failed", "packages_unusable", "app_silent", "app_unreachable"}
    assert wakes == {*stops, "StorageAvailability"}


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


def test_what_loses_leads_is_told_within_minutes_and_what_waits_within_a_quarter_of_an_hour(
    production: Deployment,
) -> None:
    every = {
        rule["properties"]["severity"]: rule["properties"]["evaluationFrequency"]
        for rule in production.of_type(LOG_RULE)
    }
    assert every == {0: "PT5M", 1: "PT15M", 2: "PT15M"}


def test_a_development_environment_can_do_without_alerts(predicted: Predicted) -> None:
    kinds = {one["type"] for one in predicted("development").resources}
    assert not kinds & {LOG_RULE, "Microsoft.Insights/metricAlerts", "Microsoft.Insights/webtests"}
    assert "Microsoft.Insights/workbooks" in kinds


# --- Run ----------------------------------------------------------------------------------------------------------------


@dataclass
class Logs:
    """A workspace's tables, filled by the app's own `emit`."""

    caplog: pytest.LogCaptureFixture
    engine: Callable[[object], Any]
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {table: [] for table in TABLES})

    def event(self, minutes_ago: float, event: Event, **fields: str | int | float | None) -> None:
        self.caplog.clear()
        emit(event, TRACEPARENT if "lead_id" in event.fields else "", **fields)
        (record,) = [record for record in self.caplog.records if record.name == "leads"]
        self.rows["AppTraces"].append({"TimeGenerated": _at(minutes_ago), "Message": record.getMessage()})

    def attempt(self, minutes_ago: float, lead_id: str, destination: str = "crm", **fields: str) -> None:
        said = {"offer": "contoso.crm", "stage": "trial", "outcome": "delivered", "code": "", "state": "delivered"}
        self.event(minutes_ago, Event.LEAD_ATTEMPTED, lead_id=lead_id, destination=destination, **{**said, **fields})

    def request(
        self, minutes_ago: float, function: str, code: str = "200", success: bool = True, operation: str = "another"
    ) -> None:
        """`success` is the function's: an answer of 503 that the app gives by itself is one."""
        what = {"OperationName": function, "OperationId": operation, "ResultCode": code, "Success": success}
        self.rows["AppRequests"].append({"TimeGenerated": _at(minutes_ago), **what})

    def failed(self, minutes_ago: float, function: str, *messages: str) -> None:
        """An invocation that the host calls failed, as it is recorded: a request, an exception, and the line about it.

        `messages` are those of the exceptions inside the host's own, outermost first. Sources: ApplicationInsightsLogger.cs and
        FunctionExecutor.cs in Azure/azure-webjobs-sdk.
        """
        operation = f"operation-{len(self.rows['AppRequests'])}"
        outer = f"Exception while executing function: Functions.{function}"
        of_it = {"TimeGenerated": _at(minutes_ago), "OperationName": function, "OperationId": operation}
        self.request(minutes_ago, function, "500", success=False, operation=operation)
        details = [{"message": message, "outerId": number} for number, message in enumerate((outer, *messages))]
        named = {"OuterMessage": outer, "InnermostMessage": messages[-1], "Details": json.dumps(details)}
        self.rows["AppExceptions"].append({**of_it, **named})
        line = f"Executed 'Functions.{function}' (Failed, Id={operation}, Duration=17ms)"
        self.rows["AppTraces"].append(
            {"TimeGenerated": _at(minutes_ago), "OperationId": operation, "Message": line, "SeverityLevel": 3}
        )

    def ask(self, name: str) -> list[dict[str, Any]]:
        """The rows that the query of this name gives."""
        return self.run(QUERIES[name])

    def run(self, query: str) -> list[dict[str, Any]]:
        """The rows that a query gives."""
        rows: list[dict[str, Any]] = self.engine({"rows": self.rows, "query": query})
        return rows


def _at(minutes_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes_ago)).replace(tzinfo=None).isoformat()


@pytest.fixture(scope="module")
def engine() -> Iterator[Callable[[object], Any]]:
    """Runs queries, one after the other."""
    columns = {table: {column: kind for column, (_, kind) in made.items()} for table, made in TABLES.items()}
    with answering([SCANNERS, ROOT / "tests/infra/run_queries.py"], columns) as ask:
        yield ask


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture, engine: Callable[[object], Any]) -> Logs:
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


def test_every_alarm_reaches_a_person_by_a_rule_with_its_own_text_subject_and_runbook(
    production: Deployment, logs: Logs
) -> None:
    expected: set[tuple[str, ...]] = set()
    alerts = promises.alerts_on_logs(production)
    for alarm in ALARMS:
        logs.event(5, alarm, **{name: made_up(name) for name in alarm.fields})
        about = ", ".join(f"{name} {made_up(name)}" for name in alerts[alarm].about) or "the app"
        expected.add((alarm, alerts[alarm].title, about, f"docs/how-to/on-call.md#{alarm}"))
    logs.request(5, "watch")
    found = {
        (rule["properties"]["severity"], *(row[name] for name in ("alarm", "title", "about", "runbook")))
        for rule in production.of_type(LOG_RULE)
        for row in logs.run(rule["properties"]["criteria"]["allOf"][0]["query"])
    }
    assert {told[1:] for told in found} == expected
    assert all(alerts[name].rule["severity"] == severity for severity, name, *_ in found)


@pytest.mark.parametrize("alarm", sorted(alarm for alarm in ALARMS if alarm.ended_by))
def test_an_alarm_is_off_once_its_end_is_logged_and_on_when_it_begins_again(alarm: Event, logs: Logs) -> None:
    assert alarm.end is not None
    fields = {name: made_up(name) for name in alarm.fields}
    logs.event(50, alarm, **fields)
    logs.event(40, alarm.end, **{name: fields[name] for name in alarm.about})
    assert logs.ask(alarm) == []
    logs.event(20, alarm, **fields)
    assert len(logs.ask(alarm)) == 1


@pytest.mark.parametrize("alarm", sorted(alarm for alarm in ALARMS if alarm.about and alarm.ended_by))
def test_an_alarm_about_another_is_another(alarm: Event, logs: Logs) -> None:
    assert alarm.end is not None
    fields = {name: made_up(name) for name in alarm.fields}
    logs.event(30, alarm, **{**fields, alarm.about[0]: "another"})
    logs.event(20, alarm, **fields)
    assert len(logs.ask(alarm)) == 2
    logs.event(10, alarm.end, **{name: fields[name] for name in alarm.about})
    (row,) = logs.ask(alarm)
    assert row[alarm.about[0]] == "another"


def test_a_5xx_of_the_intake_is_found_and_no_other_answer(logs: Logs) -> None:
    logs.request(3, "accept_lead", "202")
    logs.request(4, "accept_lead", "400")
    logs.request(4, "manage", "503")
    assert logs.ask("intake_failed") == []
    logs.request(3, "accept_lead", "503")
    assert [row["ResultCode"] for row in logs.ask("intake_failed")] == ["503"]


UNREAD = "Exception binding parameter 'req'"
SENDERS_FAULTS = [
    "Request body too large. The max request body size is 2097152 bytes.",
    "Reading the request body timed out due to data arriving too slowly. See MinRequestBodyDataRate.",
    "Unexpected end of request content.",
]
OUR_FAULTS = [
    "python exited with code 137 (0x89)",
    "Timeout value of 00:05:00 was exceeded by function: Functions.accept_lead",
    "Result: Failure\nException: ValueError: exception binding\nStack: ...",
]


@pytest.mark.parametrize("message", SENDERS_FAULTS)
def test_a_body_that_never_arrived_is_no_failure_of_the_intake(message: str, logs: Logs) -> None:
    for _ in range(10):
        logs.failed(5, "accept_lead", UNREAD, message)
    assert logs.ask("intake_failed") == []


@pytest.mark.parametrize("message", OUR_FAULTS)
def test_a_lead_that_the_worker_failed_to_take_is_one_among_any_number_of_the_others(message: str, logs: Logs) -> None:
    logs.failed(5, "accept_lead", UNREAD, SENDERS_FAULTS[0])
    logs.failed(4, "accept_lead", message)
    assert [row["OperationId"] for row in logs.ask("intake_failed")] == ["operation-1"]


def test_a_failure_is_not_told_before_its_exception_can_have_arrived(logs: Logs) -> None:
    logs.request(1, "accept_lead", "500", success=False)
    assert logs.ask("intake_failed") == []


def test_several_bodies_that_never_arrived_in_an_hour_are_told_together(logs: Logs) -> None:
    for minutes_ago in (90, 80, 5):
        logs.failed(minutes_ago, "accept_lead", UNREAD, SENDERS_FAULTS[1])
    logs.failed(5, "manage", UNREAD, SENDERS_FAULTS[0])
    logs.failed(5, "accept_lead", OUR_FAULTS[0])
    logs.failed(4, "accept_lead", UNREAD, SENDERS_FAULTS[2])
    assert logs.ask("intake_unread") == []
    logs.failed(3, "accept_lead", UNREAD, SENDERS_FAULTS[0])
    assert [row["requests"] for row in logs.ask("intake_unread")] == [3]


def test_an_app_is_silent_when_its_timer_has_not_run_well(logs: Logs) -> None:
    logs.request(2, "accept_lead", "202")
    logs.request(1, "watch", "", success=False)
    assert len(logs.ask("app_silent")) == 1
    logs.request(1, "watch", "")
    assert logs.ask("app_silent") == []


LONG = WAIT_IS_LONG.total_seconds() / 60 + 5


def undelivered(logs: Logs) -> tuple[int, float]:
    """How many leads wait too long, and the age of the oldest in minutes, as a multiple of LONG.

    The query counts the minute that has begun since the rows were written, too.
    """
    found = logs.ask("oldest_undelivered")
    return (found[0]["leads"], found[0]["minutes"] // LONG * LONG) if found else (0, 0)


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


@pytest.mark.parametrize("event", [Event.LEAD_UNROUTED, Event.LEAD_CRASHED])
def test_a_dismissed_lead_waits_for_nobody_until_that_is_taken_back(event: Event, logs: Logs) -> None:
    lead = {"lead_id": "lead", "offer": "o", "destination": ""}
    logs.event(3 * LONG, Event.LEAD_ACCEPTED, lead_id="lead")
    logs.event(3 * LONG, event, **lead)
    logs.event(2 * LONG, Event.LEAD_DISMISSED, **lead, state="crashed")
    assert undelivered(logs) == (0, 0)
    logs.event(LONG, Event.LEAD_DISMISSAL_TAKEN_BACK, **lead, state="crashed")
    assert undelivered(logs) == (1, 3 * LONG)


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
    logs.event(8, Event.LEAD_ACCEPTED, lead_id="quick")
    logs.attempt(8, "quick")
    (row,) = logs.ask("time_to_crm")
    assert (row["destination"], row["leads"]) == ("crm", 2)
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
