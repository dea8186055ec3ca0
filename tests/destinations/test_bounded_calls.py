"""A check of any destination is bounded in time and never raises."""

from __future__ import annotations

from typing import Any, ClassVar

from leads.core.outcomes import Delivered
from leads.destinations.base import (
    CheckResult,
    Customer,
    Destination,
    DestinationSettings,
    OutgoingLead,
    PreviewedRequest,
)
from leads.destinations.bounded_calls import CHECK_SECONDS, check_connection
from leads.destinations.http import Failure, HttpClient, NoAnswer

NOTHING: dict[str, CheckResult] = {}


class Anything(Destination):
    """A destination with the given check."""

    Settings: ClassVar[type[DestinationSettings]] = DestinationSettings

    def __init__(self, check: Any) -> None:
        self._check = check

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        return ()

    def check(self) -> CheckResult:
        result: CheckResult = self._check()
        return result

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Delivered:
        return Delivered("")

    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        return []


def test_a_checks_result_is_passed_on() -> None:
    said = CheckResult(ok=False, problem="the secret has expired", code="401")
    assert check_connection(Anything(lambda: said)) is said


def test_a_check_that_raises_names_the_place_in_the_code_and_no_data() -> None:
    found = check_connection(Anything(lambda: NOTHING["marker@example.com"]))
    assert found.ok and "fault" in found.problem
    assert found.code.startswith("KeyError at test_bounded_calls.py:")
    assert "marker" not in repr(found)


def test_a_check_has_one_time_limit_for_all_its_requests(monkeypatch: Any) -> None:
    now = [0.0]
    monkeypatch.setattr("leads.platform.deadline.monotonic", lambda: now[0])

    def slow() -> CheckResult:
        now[0] += CHECK_SECONDS
        try:
            HttpClient(1).request("GET", "https://vendor.example.com/")
        except NoAnswer as error:
            return CheckResult(ok=False, code=error.failure, transient=True)
        raise AssertionError("it had no time left")

    assert check_connection(Anything(slow)).code == Failure.TIMEOUT
