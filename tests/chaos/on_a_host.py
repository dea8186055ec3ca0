"""Leads over HTTP while the worker and the host itself are killed, on whatever host there is.

Senders try again until 202. The host is started again whenever it has ended, as the platform does. Nothing here reaches into
the host: the kills are signals to its processes, and the judge is the vendor.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from devhost.supervisor import Supervisor
from tests.support.pipeline import a_lead
from tests.support.running_app import RunningApp
from tests.support.vendor import Vendor
from tools.host import Host, RunError

SENDERS = 4
POST_SECONDS = 30.0
PAUSE_SECONDS = 0.2
SAY_SECONDS = 5.0
KILLS = ("worker", "worker", "stop", "worker", "host")
"""A worker that dies a third time within half an hour would end the host, so the host is started anew before."""
SEND_SECONDS = 600.0
SETTLE_SECONDS = 900.0
"""A host that is killed leaves its messages hidden for ten minutes."""


@dataclass
class Report:
    """What happened, and what of it should not have."""

    leads: int
    kills: list[str] = field(default_factory=list)
    starts: int = 1
    other_answers: int = 0  # none at all, too
    arrived: int = 0
    seconds: float = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{self.kills.count(kind)} × {kind}" for kind in dict.fromkeys(self.kills))
        return (
            f"{self.arrived} of {self.leads} leads arrived; killed: {kills}; {self.starts} host starts; "
            f"{self.other_answers} posts without 202; {self.seconds:.0f} s"
        )


def kill(kept: Supervisor[Host], kind: str, seconds: float = 60.0) -> None:
    """Kill the worker or the host with SIGKILL, or stop the host with SIGTERM, and wait until it has ended.

    Raises RunError where there is nothing to kill within `seconds`.
    """
    victim = _victim(kept, kind, time.monotonic() + seconds)
    victim.send_signal(signal.SIGTERM if kind == "stop" else signal.SIGKILL)
    with contextlib.suppress(psutil.TimeoutExpired):
        victim.wait(seconds)


def _victim(kept: Supervisor[Host], kind: str, deadline: float) -> psutil.Process:
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            found = kept.host.workers() if kind == "worker" else [kept.host.host_process()]
            if found:
                return found[0]
        time.sleep(0.1)
    raise RunError(f"there is no {kind} process of {kept.host.name} to kill")


def storm(
    kept: Supervisor[Host],
    vendor: Vendor,
    leads: int,
    kills: Sequence[str] = KILLS,
    settle_seconds: float = SETTLE_SECONDS,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Post so many leads of as many customers while the kills come, and wait until each has arrived at the vendor.

    `say` is told how it goes.
    """
    started = time.monotonic()
    report = Report(leads)
    posts = Posts(kept, report, say)
    posts.send_all(kills)
    deadline = time.monotonic() + settle_seconds
    while len(records_of(vendor)) < leads and time.monotonic() < deadline and not kept.problem:
        say(f"{len(records_of(vendor))} of {leads} leads have arrived")
        time.sleep(SAY_SECONDS)
    report.seconds, report.starts = time.monotonic() - started, len(kept.hosts)
    judge(report, records_of(vendor), kept.problem)
    return report


def records_of(vendor: Vendor) -> dict[str, set[str]]:
    """The vendor's records of each customer."""
    found = defaultdict(set)
    with vendor.lock:
        for call in vendor.calls:
            if call.key in vendor.records:
                found[call.lead["email"]].add(call.key)
    return found


def judge(report: Report, records: dict[str, set[str]], problem: str) -> None:
    """Say what is wrong: a lead that was accepted and did not arrive, one that arrived twice, a host that stays away."""
    report.arrived = len(records)
    missing = {email_of(number) for number in range(report.leads)} - records.keys()
    report.wrong += [f"lost: {email}" for email in sorted(missing)]
    report.wrong += [f"twice: {email} as {sorted(keys)}" for email, keys in records.items() if len(keys) > 1]
    if problem:
        report.wrong.append(f"the host did not come up again: {problem}")


def email_of(number: int) -> str:
    """Each lead is of a customer of its own."""
    return f"customer{number}@example.com"


class Posts:
    """The senders: each lead is posted until it is answered 202."""

    def __init__(self, kept: Supervisor[Host], report: Report, say: Callable[[str], None]) -> None:
        self._kept, self._report, self._say = kept, report, say
        self._lock = threading.Lock()
        self._numbers: Iterator[int] = iter(range(report.leads))
        self._accepted = 0
        self._deadline = time.monotonic() + SEND_SECONDS

    def send_all(self, kills: Sequence[str]) -> None:
        """The kills come evenly among the leads: the next one when its share of the leads is accepted."""
        senders = [threading.Thread(target=self._send_some) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        for number, kind in enumerate(kills, 1):
            while self._accepted < number * self._report.leads // (len(kills) + 1) and self._may_go_on():
                time.sleep(0.05)
            if self._may_go_on():
                self._kill(kind)
        for sender in senders:
            sender.join()

    def _kill(self, kind: str) -> None:
        self._say(f"{self._accepted} of {self._report.leads} leads are accepted; kill: {kind}")
        try:
            kill(self._kept, kind)
        except RunError as error:
            self._report.wrong.append(str(error))
        else:
            self._report.kills.append(kind)

    def _may_go_on(self) -> bool:
        return time.monotonic() < self._deadline and not self._kept.problem

    def _send_some(self) -> None:
        while self._may_go_on():
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            self._send(number)

    def _send(self, number: int) -> None:
        body = a_lead(email_of(number))
        while self._may_go_on():
            status = self._post(body)
            with self._lock:
                self._accepted += status == 202
                self._report.other_answers += status != 202
            if status == 202:
                return
            time.sleep(PAUSE_SECONDS)

    def _post(self, body: dict[str, Any]) -> int:
        """The status, 0 where no answer comes."""
        try:
            return RunningApp(self._kept.host).post(json.dumps(body).encode(), seconds=POST_SECONDS).status
        except (OSError, http.client.HTTPException):
            return 0
