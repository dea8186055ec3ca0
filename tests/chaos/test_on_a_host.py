"""A short chaos on whatever host there is (see on_a_host.py): here on devhost, and that its judge sees what is wrong."""

from __future__ import annotations

from pathlib import Path

from devhost.supervisor import Supervisor
from leads.offers.model import read_offer
from tests.chaos.case import patient_app
from tests.chaos.on_a_host import Report, email_of, judge, storm
from tests.support.pipeline import crm
from tests.support.vendor import Vendor
from tools.host import Host, start

LEADS = 24
ONE, TWO = email_of(0), email_of(1)


def test_a_killed_worker_a_stopped_and_a_killed_host_lose_and_double_no_lead(
    fresh_storage: str, tmp_path: Path
) -> None:
    settings = {"LeadsStorage": fresh_storage, "AzureWebJobsStorage": fresh_storage}
    modules, lease = ["tests.support.recording"], ["--lease-seconds", "5"]
    with Vendor() as vendor:
        patient_app(fresh_storage).offers.save(read_offer({"id": "*", "destinations": [crm(vendor.url)]}))

        def one_more() -> Host:
            return start("devhost", 0, "the-same-key", settings, tmp_path, modules=modules, devhost_options=lease)

        with Supervisor(one_more) as kept:
            report = storm(kept, vendor, LEADS, ("worker", "stop", "host"))
    assert report.wrong == [], report
    assert (report.arrived, report.kills) == (LEADS, ["worker", "stop", "host"])
    assert report.starts == 3, "the first one, and one after each end"


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
