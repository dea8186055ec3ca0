"""Fixtures of the tests that break things on purpose."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from devhost.clock import Clock
from leads.core import clock
from tests.chaos.case import CLOCK_FACTOR, Case
from tests.chaos.workers import ForkServer
from tools.azurite import Azurite

ACCOUNTS = 900


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


@pytest.fixture(scope="session")
def accounts() -> Iterator[Iterator[str]]:
    """Connection strings of unused accounts, of an Azurite that only these tests of this process use."""
    with ExitStack() as stack:

        def unused() -> Iterator[str]:
            while True:
                yield from stack.enter_context(Azurite(accounts=ACCOUNTS)).account_connection_strings

        yield unused()


@pytest.fixture(scope="module")
def fast_clock() -> Iterator[Clock]:
    """The time in which the workers live, and this process with them."""
    fast = Clock(CLOCK_FACTOR, time.time())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", fast.now)
        yield fast


@pytest.fixture
def case(forks: ForkServer, fast_clock: Clock, accounts: Iterator[str]) -> Iterator[Case]:
    with Case(next(accounts), forks, fast_clock) as running:
        yield running
