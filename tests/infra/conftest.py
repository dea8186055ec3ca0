"""Deployments as Microsoft's compiler predicts them, one for each set of parameters."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import cache

import pytest

from tests.infra.bicep import MISSING, PARAMETERS, Deployment, predict, require_bicep

Predicted = Callable[[str], Deployment]


@pytest.fixture(scope="session")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    """Gives the deployment of a file in `parameters/`, by its name."""
    require_bicep()
    return cache(lambda name: predict(PARAMETERS / f"{name}.bicepparam", tmp_path_factory.mktemp(name)))


@pytest.fixture(params=sorted(path.stem for path in PARAMETERS.glob("*.bicepparam")))
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
