"""A check that consists of parts: what counts against a connection, and what does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from leads.core.outcomes import Misconfigured
from leads.destinations.base import CheckResult
from leads.destinations.http import Failure, NoAnswer
from leads.destinations.tokens import NoToken
from leads.destinations.vendor_errors import (
    UNREADABLE,
    ErrorKind,
    Problem,
    VendorError,
    check_of,
    check_result,
    outcome_of,
)

UNUSABLE = [
    NoAnswer(Failure.ANSWER_TOO_LARGE),
    NoAnswer(Failure.TIMEOUT),
    NoAnswer(Failure.CONNECTION_LOST),
    VendorError(UNREADABLE),
    VendorError(Problem(ErrorKind.TRANSIENT, "500")),
    VendorError(Problem(ErrorKind.LEAD, "400")),
]
RIGHT_MISSING = VendorError(Problem(ErrorKind.SETTINGS, "403", "It lacks a right."))


def judged(failure: Exception) -> CheckResult:
    return check_result(outcome_of(failure, "wrong address"), "the vendor did not answer")


def raises(failure: Exception) -> Callable[[], str]:
    def part() -> str:
        raise failure

    return part


def fine() -> str:
    return ""


@pytest.mark.parametrize("failure", UNUSABLE, ids=str)
def test_an_answer_that_can_not_be_used_says_nothing_against_the_connection_and_hides_no_fault_behind_it(
    failure: Exception,
) -> None:
    found = check_of([fine, raises(failure)], [raises(failure)], judged)
    assert found.ok and "is incomplete" in found.problem and found.code
    assert check_of([fine, raises(failure), lambda: "make the column"], [], judged) == CheckResult(
        ok=False, problem="make the column", code="check"
    )


@pytest.mark.parametrize("failure", [NoAnswer(Failure.TIMEOUT), NoAnswer(Failure.NO_SUCH_HOST)], ids=str)
def test_a_vendor_that_does_not_answer_at_all_is_out_of_reach(failure: Exception) -> None:
    found = check_of([raises(failure), fine], [], judged)
    assert not found.ok and found.transient


def test_an_answer_that_is_too_large_comes_from_a_vendor_that_answers() -> None:
    assert check_of([raises(NoAnswer(Failure.ANSWER_TOO_LARGE)), fine], [], judged).ok


@pytest.mark.parametrize("failure", [RIGHT_MISSING, NoToken(Misconfigured("It lacks a right.", "403"))], ids=str)
def test_a_problem_of_every_lead_counts_against_the_connection(failure: Exception) -> None:
    expected = CheckResult(ok=False, problem="It lacks a right.", code="403")
    assert check_of([raises(failure), fine], [], judged) == check_of([fine, raises(failure)], [], judged) == expected


def test_a_missing_extra_is_reported_and_does_not_count_against_the_connection() -> None:
    found = check_of([fine], [lambda: "The owner is disabled.", raises(RIGHT_MISSING), fine], judged)
    assert found.ok and found.code == "check"
    assert found.problem == "The owner is disabled. The check is incomplete (403)."
