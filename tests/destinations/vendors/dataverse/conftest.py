"""Fixtures of the tests of Dynamics 365: over TLS, against an environment that behaves as Microsoft documents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.dataverse import Dataverse
from tests.fakes.tls import Authority
from tests.support.dataverse import crm
from tests.support.pipeline import Pipeline, pipeline_over_tls


@pytest.fixture
def dynamics(authority: Authority) -> Iterator[Dataverse]:
    with Dataverse(authority) as running:
        yield running


@pytest.fixture
def pipeline(
    fresh_storage: str, authority: Authority, dynamics: Dataverse, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    monkeypatch.setenv("LEADS_SECRET_DYNAMICS", "the secret")
    made.offer(crm(dynamics))
    return made
