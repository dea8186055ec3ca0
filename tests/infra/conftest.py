"""Deployments as Microsoft's compiler predicts them, one for each set of parameters."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Generator, Iterator

import pytest

from tests.infra.bicep import MISSING, PARAMETERS, Compiler, Deployment, require_bicep

Predicted = Callable[[str], Deployment]
PARAMETER_SETS = sorted(path.stem for path in PARAMETERS.glob("*.bicepparam"))


@pytest.fixture(scope="session")
def compiler() -> Iterator[Compiler]:
    require_bicep()
    running = Compiler(AZURE_ENV_NAME="prod", AZURE_LOCATION="westeurope")
    yield running
    running.close()


@pytest.fixture(scope="session")
def predicted(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    """Gives the deployment of a file in `parameters/`, by its name. The first test process that asks predicts all for all."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    kept = folder / "snapshots.json"
    with (folder / "snapshots.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            found = {name: compiler.predict(PARAMETERS / f"{name}.bicepparam").snapshot for name in PARAMETER_SETS}
            kept.write_text(json.dumps(found))
    deployments = {name: Deployment(snapshot) for name, snapshot in json.loads(kept.read_text()).items()}
    return deployments.__getitem__


@pytest.fixture(params=PARAMETER_SETS)
def deployment(request: pytest.FixtureRequest, predicted: Predicted) -> Deployment:
    """Each of them in turn."""
    return predicted(request.param)


@pytest.fixture
def production(predicted: Predicted) -> Deployment:
    """Everything that can be switched on is on."""
    return predicted("production")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Without the compiler all that is skipped is one line of the summary, however many tests it is."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and MISSING in report.longrepr[2]:
        report.longrepr = (str(PARAMETERS.parent), 0, report.longrepr[2])
    return report
