"""Fixtures of the tests of Marketo: over TLS, against an instance that behaves as Adobe documents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.marketo import FORM, Form, Marketo
from tests.fakes.tls import Authority
from tests.support.marketo import crm
from tests.support.pipeline import Pipeline, pipeline_over_tls


@pytest.fixture
def marketo(authority: Authority) -> Iterator[Marketo]:
    with Marketo(authority) as running:
        yield running


@pytest.fixture
def pipeline(fresh_storage: str, authority: Authority, marketo: Marketo, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    monkeypatch.setenv("LEADS_SECRET_MARKETO", "the secret")
    made.offer(crm(marketo))
    return made


@pytest.fixture
def form(pipeline: Pipeline, marketo: Marketo) -> Form:
    """The offer goes through this form."""
    pipeline.offer(crm(marketo, form_id=FORM))
    return marketo.forms[FORM]
