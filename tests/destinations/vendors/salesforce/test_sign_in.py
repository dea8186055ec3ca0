"""Sign-in to Salesforce: by secret and by private key, renewed once, and with words for each fault."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from leads.core.outcomes import Delivered, Misconfigured, Outcome, Retry
from leads.destinations.base import CheckResult
from tests.fakes.salesforce import API, USERNAME, Salesforce
from tests.support.destination import Alone, Instance
from tests.support.salesforce import Make, answered, crm


def test_a_token_is_renewed_once_within_the_attempt_and_serves_until_then(org: Salesforce, alone: Alone) -> None:
    alone.send()
    alone.send(email="b@example.com")
    assert tokens(org) == 1
    org.revoke_tokens()
    assert isinstance(alone.send("PLT"), Delivered)
    assert tokens(org) == 2
    org.fault = lambda request: (
        answered("INVALID_SESSION_ID", "This session is not valid", 401) if API in request.path else None
    )
    outcome = alone.send("Create")
    assert isinstance(outcome, Misconfigured) and "scope api" in outcome.reason
    assert tokens(org) == 3


def tokens(org: Salesforce) -> int:
    return sum(request.path.endswith("/token") for request in org.journal)


@pytest.mark.parametrize(
    ("error", "description", "kind", "words"),
    [
        ("invalid_grant", "no client credentials user enabled", Misconfigured, "run-as user"),
        ("invalid_grant", "request not supported on this domain", Misconfigured, "My Domain"),
        ("invalid_grant", "something else", Misconfigured, "policies"),
        ("unsupported_grant_type", "grant type not supported", Misconfigured, "enable"),
        ("inactive_user", "", Misconfigured, "not active"),
        ("a_new_one", "", Misconfigured, "client_id"),
        ("invalid_grant", "token request is already being processed", Retry, ""),
        ("rate_limit_exceeded", "", Retry, ""),
    ],
)
def test_a_token_error_says_what_to_change(
    org: Salesforce, make: Make, error: str, description: str, kind: type[Outcome], words: str
) -> None:
    org.token_error = error, description
    outcome = make().send()
    assert isinstance(outcome, kind)
    assert words in getattr(outcome, "reason", "")
    assert not org.requests()


@pytest.fixture(scope="module")
def key_pair() -> tuple[str, str]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode(), public.decode()


def by_key(instance: Instance, org: Salesforce, key: str, **more: Any) -> Alone:
    instance.secrets["LEADS_SECRET_SALESFORCE_KEY"] = key
    settings_ = {"client_secret": None, "username": USERNAME, "private_key": "env:LEADS_SECRET_SALESFORCE_KEY"}
    return Alone(instance.make(crm(org, **settings_ | more)))


@pytest.mark.parametrize("line_end", ["\n", "\\n"])
def test_a_private_key_signs_in_without_a_secret(
    org: Salesforce, instance: Instance, key_pair: tuple[str, str], line_end: str
) -> None:
    private, org.public_key = key_pair
    alone = by_key(instance, org, private.replace("\n", line_end))
    assert isinstance(alone.send(), Delivered)
    assert alone.check() == CheckResult(ok=True)


def test_each_fault_of_a_sign_in_by_key_has_its_own_words(
    org: Salesforce, instance: Instance, key_pair: tuple[str, str]
) -> None:
    private, public = key_pair
    org.public_key = public
    found = {
        "audience": by_key(instance, org, private, audience="https://test.salesforce.com").check(),
        "approved": by_key(instance, org, private, username="other@contoso.example.com").check(),
        "PEM": by_key(instance, org, "no key at all").check(),
    }
    org.public_key = public.replace("A", "B")
    found["certificate"] = by_key(instance, org, private).check()
    for words, result in found.items():
        assert not result.ok and not result.transient
        assert words in result.problem, result
