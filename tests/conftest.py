"""What all test layers share: an empty storage account for each test, in memory or on the one Azurite of the test process."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from leads.platform.libraries import quiet_libraries
from tests.support.account import Account
from tests.support.logs import Strays
from tests.support.markers import found_in, misplaced
from tests.support.memory import installed, memory_account
from tests.support.pipeline import Pipeline, crm
from tests.support.vendor import Vendor
from tools.azurite import Azurite

if TYPE_CHECKING:
    from tests.fakes.tls import Authority
    from tests.support.command_line import Run

TESTS = Path(__file__).parent
PROCESSES = ("benchmarks", "chaos", "console", "devhost", "e2e", "infra", "tools", "worker")
EVERY_PYTHON = ("e2e", "worker")
ACCOUNTS = 1000
MEMORY, AZURITE = "memory", "azurite"
LONGEST_FIRST = (
    "chaos/test_every_request.py",
    "devhost/test_devhost_queues.py",
    "tools/test_package.py",
    "console/test_in_browser.py",
    "chaos/test_outages.py",
    "e2e/test_openapi_over_http.py",
    "devhost/test_devhost_timers.py",
    "chaos/test_many_workers.py",
    "chaos/test_commands.py",
    "console/test_work_in_browser.py",
    "tools/test_run.py",
    "benchmarks/test_benchmarks.py",
    "chaos/test_deadly_message.py",
    "e2e/test_leads_over_http.py",
    "chaos/test_soak.py",
    "pipeline/test_own_claim.py",
    "e2e/test_both_ways.py",
    "devhost/test_devhost_outages.py",
    "chaos/test_on_a_host.py",
    "infra/test_templates.py",
    "pipeline/test_hanging_storage.py",
    "destinations/faults/test_faults.py",
    "devhost/test_devhost_worker.py",
    "infra/test_scanners.py",
    "cli/test_installed.py",
    "infra/test_queries.py",
    "devhost/test_devhost_process.py",
    "cli/test_connecting.py",
    "chaos/test_storm.py",
    "chaos/test_model.py",
    "e2e/test_hanging_vendor.py",
    "tools/test_azurite.py",
    "tools/test_audit.py",
    "e2e/test_addresses.py",
    "chaos/test_orders.py",
    "e2e/test_manage_over_http.py",
    "destinations/vendors/test_azure_table.py",
    "core/test_silence_simulation.py",
    "operations/test_export.py",
    "cli/test_cli.py",
    "platform/test_storage.py",
    "core/test_hostile_text.py",
    "destinations/test_crm_journeys.py",
    "health/test_daily_counts.py",
    "infra/test_predicted.py",
    "infra/test_mutations.py",
    "infra/test_workflows.py",
    "privacy/test_erasure.py",
)
"""Files that take some seconds or more: begun last, they would leave the other processes with nothing to do in the end.

Those that compute and those that wait take turns, so that neither a core nor a process is without work.
"""

# A busy machine is no reason for a property to be false. Each run tries the same examples, so that what fails is due to what
# was changed; `pytest -m hypothesis --hypothesis-profile=explore` looks for others.
settings.register_profile(
    "tests", derandomize=True, max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("tests"), derandomize=False, max_examples=2000)
settings.load_profile("tests")


# No test may reach the app or the storage of whoever runs it: not by a variable of their shell, nor by a saved profile.
for name in [*os.environ]:
    if name.startswith(("LEADS_", "LeadsStorage", "WEBSITE_")):
        del os.environ[name]
os.environ["XDG_CONFIG_HOME"] = os.devnull

quiet_libraries()  # as the app does: Azure's clients would tell of each request

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has started the tests in the background: what they start would not hear Ctrl-C either.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _events_of_invocations() -> Iterator[None]:
    """Whatever a test is about: what the app logs in a thread of its own would be lost."""
    logger, strays = logging.getLogger("leads"), Strays()
    logger.addFilter(strays)
    yield
    logger.removeFilter(strays)
    assert strays.found == [], "logged in threads that belong to no invocation"


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """An Azurite in memory, shared by all tests of this process; never stop or restart it.

    A test that needs an outage starts one of its own: `with Azurite() as azurite:`.
    """
    with Azurite(accounts=ACCOUNTS) as running:
        yield running


@pytest.fixture(scope="session")
def _unused_accounts(azurite: Azurite) -> Iterator[str]:
    return iter(azurite.account_connection_strings)


@pytest.fixture(scope="session", autouse=True)
def _memory_storage() -> Iterator[None]:
    with installed():
        yield


@pytest.fixture
def storage_kind(request: pytest.FixtureRequest) -> str:
    """Where `fresh_storage` is; the marker `storage` says otherwise."""
    return AZURITE if _folder(request.node) in PROCESSES else MEMORY


@pytest.fixture
def fresh_storage(storage_kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Connection string of a storage account (queue, table) that no other test uses: it is empty."""
    new = memory_account() if storage_kind == MEMORY else _azurite_account(request.getfixturevalue("_unused_accounts"))
    with new as connection_string:
        yield connection_string
        assert list(misplaced(connection_string)) == [], "people and secrets where they don't belong"


@pytest.fixture(scope="module")
def shared_storage(_unused_accounts: Iterator[str]) -> Iterator[str]:
    """As `fresh_storage` on Azurite, for all tests of a module together."""
    with _azurite_account(_unused_accounts) as connection_string:
        yield connection_string
        assert list(misplaced(connection_string)) == [], "people and secrets where they don't belong"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates the servers of all tests have."""
    from tests.fakes.tls import make_authority  # with trustme, which most tests do without

    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as running:
        yield running


@pytest.fixture
def pipeline(fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The pipeline on an empty account, without an offer."""
    return Pipeline(fresh_storage, monkeypatch)


@pytest.fixture
def run(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process against the pipeline's storage; its words are the arguments."""
    from tests.support.command_line import run_against  # with typer and rich, which most tests do without

    return run_against(capsys)


@pytest.fixture
def routed(pipeline: Pipeline, vendor: Vendor) -> Pipeline:
    """The pipeline with one offer whose only destination is `crm`."""
    pipeline.offer(crm(vendor.url))
    return pipeline


@pytest.fixture
def second(fresh_storage: str, monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> Pipeline:
    """Another instance of the app on the same account, with the same clock."""
    return Pipeline(fresh_storage, monkeypatch, pipeline.clock)


@contextmanager
def _azurite_account(unused: Iterator[str]) -> Iterator[str]:
    connection_string = next(unused, None)
    if connection_string is None:
        pytest.fail(f"all {ACCOUNTS} storage accounts are used up: raise ACCOUNTS in tests/conftest.py")
    yield connection_string
    # Azurite keeps the messages of all accounts in one collection: what is left slows down every later test.
    Account(connection_string).delete_queues()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Whatever a test is about: it fails if a person or a secret is in what was logged meanwhile."""
    report = yield
    for title, text in report.sections:
        if title == f"Captured log {report.when}" and report.passed and (found := found_in(text)):
            report.outcome = "failed"
            report.longrepr = f"{title}: {found} must not be logged"
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on each kind of storage that its marker names."""
    marker = metafunc.definition.get_closest_marker("storage")
    if marker is not None and "storage_kind" in metafunc.fixturenames:
        metafunc.parametrize("storage_kind", marker.args)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a test needs, and begin with the longest: each process takes the next file (`--no-loadscope-reorder`)."""
    for item in items:
        if _needs_server(item):
            item.add_marker("server")
        if _folder(item) in EVERY_PYTHON:
            item.add_marker("every_python")
    ranks = {TESTS / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    assert all(path.exists() for path in ranks), "a file of LONGEST_FIRST is gone"
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def _needs_server(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return (
        _folder(item) in PROCESSES
        or bool(fixtures & {"azurite", "vendor", "authority"})
        or parameters.get("storage_kind") == AZURITE
    )


def _folder(item: pytest.Item) -> str:
    return _folder_of(item.path)


@cache
def _folder_of(path: Path) -> str:
    return path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else ""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays until the end: nothing looks through it for what could be freed, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded as their `summary`, such as how often a worker was killed."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "summary":
                terminalreporter.write_line(str(value))
