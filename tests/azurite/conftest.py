"""Fixtures of the tests that run the pipeline on a real storage account."""

from collections.abc import Iterator

import pytest

from tests.support.pipeline import Pipeline, crm
from tests.support.vendor import Vendor


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as running:
        yield running


@pytest.fixture
def pipeline(fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The pipeline on an empty account, without an offer."""
    return Pipeline(fresh_storage, monkeypatch)


@pytest.fixture
def routed(pipeline: Pipeline, vendor: Vendor) -> Pipeline:
    """The pipeline with one offer whose only destination is `crm`."""
    pipeline.offer(crm(vendor.url))
    return pipeline


@pytest.fixture
def second(fresh_storage: str, monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> Pipeline:
    """Another instance of the app on the same account, with the same clock."""
    return Pipeline(fresh_storage, monkeypatch, pipeline.clock)
