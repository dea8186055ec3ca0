"""The catalogue of log events matches the events that the product emits."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.platform.events import ALARMS, Event, emit, named
from tests.support.worker_log import worker_log

LEADS = Path(__file__).parents[2] / "leads"


def emitted() -> Iterator[tuple[str, set[str], set[str]]]:
    """Every `emit` and every `Alarm` in the product: place, possible events, and fields."""
    for path in sorted(LEADS.rglob("*.py")):
        if path.name == "events.py":
            continue
        tree = ast.parse(path.read_text())
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in {"emit", "Alarm"}:
                fields = {keyword.arg for keyword in call.keywords} | _keys(call.args[1:])
                if None in fields:
                    continue  # an alarm's own fields, given to the alarm
                scope = call.args[0] if not isinstance(call.args[0], ast.Name) else tree
                events = {
                    node.attr
                    for node in ast.walk(scope)
                    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Event"
                }
                yield f"{path.relative_to(LEADS)}:{call.lineno}", events, {str(name) for name in fields} - {"logged"}


def _keys(nodes: list[ast.expr]) -> set[str | None]:
    """The keys of the dictionaries that are written out."""
    written = (node for outer in nodes for node in ast.walk(outer) if isinstance(node, ast.Dict))
    return {str(key.value) for node in written for key in node.keys if isinstance(key, ast.Constant)}


@pytest.fixture(scope="module")
def calls() -> list[tuple[str, set[str], set[str]]]:
    return list(emitted())


def test_events_have_the_fields_of_the_catalogue(calls: list[tuple[str, set[str], set[str]]]) -> None:
    wrong = {
        place: (events, fields)
        for place, events, fields in calls
        if not any(fields <= set(Event[name].fields) for name in events)
    }
    assert wrong == {}, "where it stands, what it can be, and which fields it is given"


def test_every_event_is_emitted_somewhere(calls: list[tuple[str, set[str], set[str]]]) -> None:
    ends = {event.ended_by.upper() for event in ALARMS if event.ended_by}
    assert {name for _, events, _ in calls for name in events} | ends == set(Event.__members__)


MATTERS = {
    "dead letter": Event.LEADS_NEED_A_PERSON,
    "unreadable body": Event.LEADS_NEED_A_PERSON,
    "a lead that has been parked for over an hour": Event.LEADS_WAIT_LONG,
    "paused connection": Event.CONNECTION_PAUSED,
    "silence": Event.OFFER_SILENT,
    "expiry": Event.SECRET_EXPIRING,
    "intake flood": Event.OFFER_OVER_CEILING,
    "bodies that are empty": Event.BODIES_EMPTY,
}
REPEATED = {
    Event.MESSAGE_TOO_NEW,
    Event.OFFER_UNREADABLE,
    Event.ROWS_UNREADABLE,
    Event.INTAKE_UNAVAILABLE,
    Event.BODY_WITHOUT_LENGTH,
    Event.PACKAGES_UNUSABLE,
}
"""Alarms that are logged repeatedly: no stored row can end them, or each is about another lost lead."""


def test_whatever_a_publisher_is_to_hear_of_is_one_alarm_with_an_end() -> None:
    assert set(MATTERS.values()) | REPEATED == ALARMS
    assert all(alarm.end is not None and alarm.end not in ALARMS for alarm in MATTERS.values())
    assert all(alarm.end is None for alarm in REPEATED)
    assert len({alarm.ended_by for alarm in MATTERS.values()}) == len(set(MATTERS.values()))


def test_an_event_is_told_with_its_values_where_its_meaning_names_them_and_the_others_before() -> None:
    fields: dict[str, str | int | float] = {
        "connection": "0123456789abcdef",
        "used_by": "contoso.crm/hook",
        "minutes": 124,
    }
    assert Event.LEADS_WAIT_LONG.in_words(fields) == (
        "leads_wait_long (connection 0123456789abcdef): Leads for contoso.crm/hook have been parked behind a connection for "
        "over an hour, the oldest for 124 minutes."
    )
    paused = Event.CONNECTION_PAUSED.meaning_with({"used_by": "contoso.crm/crm", "reason": "The secret has expired."})
    assert paused == "Leads for contoso.crm/crm are parked until the connection works: The secret has expired."
    assert Event.LEADS_NEED_A_PERSON.in_words({"state": "held", "offer": "*", "destination": ""}) == (
        "leads_need_a_person (offer *): Leads of an offer are in the state held and need a person: see States."
    )


def test_an_alarm_is_ended_by_an_event_that_says_about_what() -> None:
    for alarm in ALARMS:
        assert set(alarm.about) <= set(alarm.fields)
        if alarm.ended_by:
            assert alarm.end is not None
            assert set(alarm.about) == set(alarm.end.fields), alarm


def test_a_name_finds_its_event() -> None:
    assert all(named(event.value) is event for event in Event)
    assert named("of a newer release") is None


@given(st.text() | st.sampled_from(["\nevent=x", "a\r\nb", "\x0b\x0c\x1c\x85\u2028\u2029", "\ud800"]))
def test_whatever_a_field_holds_an_event_is_one_line(text: str) -> None:
    with worker_log() as log:
        emit(Event.NOTICE_FAILED, what=text, why="500")
    (line,) = log.take()
    assert line.text.startswith("event=notice_failed {")
    assert len(line.text.splitlines()) == 1
    assert json.loads(line.text.partition(" ")[2]) == {"what": text, "why": "500"}


def test_nothing_but_events_is_logged_or_printed_outside_the_command_line() -> None:
    """Any other log record would not be one line that begins with `event=`: an exception adds a traceback."""
    of_the_app = [
        path for path in LEADS.rglob("*.py") if not {"cli", "__main__.py"} & set(path.relative_to(LEADS).parts)
    ]
    speaking = {path.relative_to(LEADS).as_posix(): set(_speaks(ast.parse(path.read_text()))) for path in of_the_app}
    assert {name: found for name, found in speaking.items() if found} == {
        "platform/events.py": {"logging", "getLogger"},
        "platform/libraries.py": {"logging", "getLogger", "warnings"},  # which it filters
    }


def _speaks(tree: ast.AST) -> Iterator[str]:
    """The names with which a module could log or print."""
    speakers = {"print", "logging", "getLogger", "stdout", "stderr", "warnings", "print_exc", "print_exception"}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in speakers:
                yield name


def test_an_event_is_one_line_that_can_be_parsed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "leads")
    emit(Event.CONNECTION_PAUSED, connection="0123456789abcdef", type="webhook", failures=5)
    emit(Event.LEAD_ACCEPTED, lead_id="20260131235959999-0123456789ab-c")
    emit(Event.LEAD_UNREADABLE, lead_id="20260131235959999-0123456789ab-c", bytes=7)
    alarm, news, lead = caplog.records
    assert (alarm.levelno, news.levelno, lead.levelno) == (logging.ERROR, logging.INFO, logging.WARNING)
    head, _, fields = alarm.getMessage().partition(" {")
    assert head == "event=connection_paused"
    assert json.loads("{" + fields) == {"connection": "0123456789abcdef", "type": "webhook", "failures": 5}
