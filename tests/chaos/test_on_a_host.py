"""A short chaos on whatever host there is (see on_a_host.py), and that its judge sees what is wrong."""

from __future__ import annotations

from tests.chaos.on_a_host import Report, email_of, judge

ONE, TWO = email_of(0), email_of(1)


def judged(records: dict[str, set[str]], problem: str = "") -> Report:
    report = Report(2)
    judge(report, records, problem)
    return report


def test_every_lead_once_is_right() -> None:
    report = judged({ONE: {"a"}, TWO: {"b"}})
    assert (report.arrived, report.wrong) == (2, [])


def test_a_lost_lead_a_second_record_and_a_host_that_stays_away_are_wrong() -> None:
    assert judged({ONE: {"a"}}).wrong == [f"lost: {TWO}"]
    assert judged({ONE: {"a", "c"}, TWO: {"b"}}).wrong == [f"twice: {ONE} as ['a', 'c']"]
    assert judged({ONE: {"a"}, TWO: {"b"}}, "port in use").wrong == ["the host did not come up again: port in use"]
