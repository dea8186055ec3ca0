"""A secret in Key Vault is rotated while the app runs, without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from leads.core.states import State
from leads.destinations.base import OWN_OUTAGE_SECONDS
from leads.health.connection import FAILURES_UNTIL_PAUSE
from tests.fakes.dataverse import Dataverse
from tests.fakes.https_server import Broken, Fault, Response
from tests.fakes.key_vault import Identity, Kept, KeyVault, reach
from tests.fakes.tls import Authority
from tests.support.dataverse import crm
from tests.support.logs import logged
from tests.support.pipeline import Pipeline, deliver, pipeline_over_tls, state

OLD, NEW = "s3cret-old", "s3cret-new"


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")


@pytest.fixture
def identity() -> Iterator[Identity]:
    with Identity() as running:
        yield running


@pytest.fixture
def vault(authority: Authority, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyVault]:
    with KeyVault(authority) as running:
        running.secrets["crm-secret"] = Kept(OLD)
        reach(running, identity, authority, monkeypatch)
        yield running


@pytest.fixture
def pipeline(
    fresh_storage: str, authority: Authority, dynamics: Dataverse, vault: KeyVault, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    dynamics.entra.set_secret(OLD)
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    made.offer(crm(dynamics, client_secret="keyvault:crm-secret"))
    return made


def revoke(dynamics: Dataverse) -> None:
    """Make the vendor accept only the new secret, and refuse the tokens of the old secret."""
    dynamics.entra.set_secret(NEW)
    dynamics.entra.revoke_tokens()


def test_a_rotated_secret_is_in_use_with_the_next_probe(
    pipeline: Pipeline, dynamics: Dataverse, vault: KeyVault, caplog: pytest.LogCaptureFixture
) -> None:
    assert state(pipeline, deliver(pipeline)) is State.DELIVERED
    assert vault.read == ["crm-secret"]
    revoke(dynamics)
    parked = [deliver(pipeline, email=f"c{number}@example.com") for number in range(3)]
    pipeline.tick(2)
    assert {state(pipeline, lead) for lead in parked} == {State.PARKED}
    reads = len(vault.read)
    vault.secrets["crm-secret"] = Kept(NEW)
    pipeline.tick()
    assert len(vault.read) > reads, "Key Vault is asked again, though the secret was read less than five minutes ago"
    assert [state(pipeline, lead) for lead in parked].count(State.DELIVERED) == 1, "one goes first"
    assert not pipeline.app.connections.stored()[0].paused
    pipeline.tick(2)
    assert {state(pipeline, lead) for lead in parked} == {State.DELIVERED}
    assert len(logged(caplog, "connection_paused")) == len(logged(caplog, "connection_opened")) == 1


def test_an_instance_that_still_holds_the_old_secret_changes_to_the_new_one_without_a_pause(
    pipeline: Pipeline,
    fresh_storage: str,
    authority: Authority,
    dynamics: Dataverse,
    vault: KeyVault,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch, pipeline.clock)
    for number, instance in enumerate((pipeline, other)):
        assert state(pipeline, deliver(instance, email=f"a{number}@example.com")) is State.DELIVERED
    revoke(dynamics)
    vault.secrets["crm-secret"] = Kept(NEW)
    leads = [deliver(instance, email=f"b{number}@example.com") for number, instance in enumerate((pipeline, other))]
    for instance in (pipeline, other):
        instance.advance(15)
    assert [state(pipeline, lead) for lead in leads] == [State.DELIVERED, State.DELIVERED]
    assert logged(caplog, "connection_paused") == []


def test_a_secrets_end_in_key_vault_is_warned_about_until_there_is_a_new_secret(
    pipeline: Pipeline, vault: KeyVault, caplog: pytest.LogCaptureFixture
) -> None:
    now = pipeline.clock.now()
    vault.secrets["crm-secret"] = Kept(OLD, now + timedelta(days=5, hours=1))
    pipeline.tick(2)
    about = {
        "offer": "contoso.crm",
        "destination": "crm",
        "setting": "client_secret",
        "reference": "keyvault:crm-secret",
    }
    warned = sorted(logged(caplog, "secret_expiring"), key=lambda fields: fields["within"])
    assert warned == [about | {"within": within, "days": 5} for within in (7, 30)]
    vault.secrets["crm-secret"] = Kept(OLD, now + timedelta(days=365))
    pipeline.tick(5)
    assert sorted(fields["within"] for fields in logged(caplog, "secret_renewed")) == [7, 30]


def test_a_secret_that_key_vault_has_not_got_is_named_and_heals_once_it_has(
    pipeline: Pipeline, vault: KeyVault
) -> None:
    kept = vault.secrets.pop("crm-secret")
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.PARKED
    (connection,) = pipeline.app.connections.stored()
    assert connection.reason == "Key Vault has no secret named crm-secret."
    vault.secrets["crm-secret"] = kept
    pipeline.tick()
    assert state(pipeline, lead) is State.DELIVERED


NOBODY = Broken(acts=False)


@pytest.mark.parametrize(
    "fault", [NOBODY, Response(503, b"busy"), Response(429, b"slowly")], ids=["no answer", "503", "429"]
)
def test_a_key_vault_that_does_not_answer_is_not_held_against_the_connection(
    pipeline: Pipeline, dynamics: Dataverse, vault: KeyVault, fault: Fault
) -> None:
    vault.fault = lambda _: fault
    _leads_wait_for_what_is_our_own(pipeline, dynamics)
    vault.fault = lambda _: None
    _then_they_are_delivered(pipeline)


def test_a_token_endpoint_of_the_apps_identity_that_does_not_answer_is_not_held_against_the_connection(
    pipeline: Pipeline, dynamics: Dataverse, identity: Identity
) -> None:
    identity.fault = lambda _: NOBODY
    _leads_wait_for_what_is_our_own(pipeline, dynamics)
    identity.fault = lambda _: None
    _then_they_are_delivered(pipeline)


def _leads_wait_for_what_is_our_own(pipeline: Pipeline, dynamics: Dataverse) -> None:
    """More leads than it takes to pause a connection because of its vendor."""
    leads = [deliver(pipeline, email=f"c{number}@example.com") for number in range(FAILURES_UNTIL_PAUSE + 1)]
    pipeline.watch()
    deliveries = [pipeline.delivery(lead) for lead in leads]
    assert {(delivery.state, delivery.attempts[-1].code) for delivery in deliveries} == {(State.RETRY, "key_vault")}
    assert {delivery.step for delivery in deliveries} == {0}, "it costs no lead its budget"
    assert not any(known.paused or known.failures for known in pipeline.app.connections.stored())
    assert dynamics.journal == []


def _then_they_are_delivered(pipeline: Pipeline) -> None:
    pipeline.advance(1.3 * OWN_OUTAGE_SECONDS)
    assert pipeline.states() == {State.DELIVERED: FAILURES_UNTIL_PAUSE + 1}
