"""Fixtures of the tests of Salesforce: over TLS, against an organisation that behaves as Salesforce documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from leads.core import clock
from tests.fakes.salesforce import Field, Salesforce
from tests.fakes.tls import Authority
from tests.support.destination import Alone, Instance
from tests.support.pipeline import Pipeline, TestClock, pipeline_over_tls
from tests.support.salesforce import KEY, Make, crm


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    """The time of the app and of the organisation, moved by hand."""
    made = TestClock(datetime.now(UTC))
    monkeypatch.setattr(clock, "now", made.now)
    return made


@pytest.fixture
def org(authority: Authority, time: TestClock) -> Iterator[Salesforce]:
    with Salesforce(authority) as running:
        running.fields["Lead"][KEY] = Field("string", 32, external_id=True, unique=True)
        yield running


@pytest.fixture
def instance(authority: Authority) -> Instance:
    return Instance(authority.bundle, {"LEADS_SECRET_SALESFORCE": "the secret"})


@pytest.fixture
def make(org: Salesforce, instance: Instance) -> Make:
    """A destination with these settings, as an instance that has just started has it."""

    def made(policies: dict[str, str] | None = None, **more: Any) -> Alone:
        return Alone(replace(instance).make(crm(org, **more)), policies or {})

    return made


@pytest.fixture(params=["key in a field", "idempotency key"])
def alone(request: pytest.FixtureRequest, make: Make) -> Alone:
    """Each of the two ways to make a record once."""
    return make(external_id_field=KEY if request.param == "key in a field" else None)


@pytest.fixture
def pipeline(fresh_storage: str, authority: Authority, org: Salesforce, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    monkeypatch.setenv("LEADS_SECRET_SALESFORCE", "the secret")
    made.offer(crm(org))
    return made
