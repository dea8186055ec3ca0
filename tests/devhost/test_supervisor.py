"""A host that has ended is restarted, as on the platform."""

from __future__ import annotations

from typing import Self

from devhost.supervisor import Supervisor
from tests.devhost.conftest import until


class Host:
    def __init__(self) -> None:
        self.ended = self.closed = False

    def has_ended(self) -> bool:
        return self.ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


def test_a_start_that_fails_is_told_and_tried_again_and_all_hosts_end_with_the_block() -> None:
    fails = False

    def start() -> Host:
        if fails:
            raise RuntimeError("the port is taken")
        return Host()

    with Supervisor(start, pause=0.01) as supervisor:
        fails = supervisor.host.ended = True
        until(lambda: supervisor.problem == "the port is taken")
        fails = False
        until(lambda: len(supervisor.hosts) == 2)
        until(lambda: not supervisor.problem)
    assert [host.closed for host in supervisor.hosts] == [True, True]
