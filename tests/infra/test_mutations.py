"""The proof of the proof: things are renamed in the templates alone, and the checks find each of them and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.infra import promises
from tests.infra.bicep import INFRA, PARAMETERS, Compiler, Deployment
from tests.infra.conftest import Predicted

RENAMES = [
    # where, what, and what it becomes
    ("app.bicep", "LEADS_KEY_VAULT_URI", "LEADS_VAULT_URI"),
    ("app.bicep", "LEADS_RETENTION_DAYS", "LEADS_KEEP_DAYS"),
    ("storage.bicep", "'leads-notices'", "'leads-notes'"),
    ("storage.bicep", "'LeadCounts'", "'LeadCount'"),
    ("rbac.bicep", "scope: insights", "scope: storage"),
    ("rbac.bicep", "'4633458b-17de-408a-b874-0445c86b69e6'", "'00482a5a-887f-4fb3-b363-3b7fe8e74483'"),
    ("queries/offer_silent.kql", "offer_silent", "offer_quiet"),
    ("queries/offer_silent.kql", "offer_heard_again", "offer_speaks"),
    ("queries/connection_paused.kql", "fields.code", "fields.cause"),
    ("queries/leads_per_day.kql", "fields.stage", "fields.step"),
    ("queries/app_silent.kql", '"watch"', '"watcher"'),
    ("main.bicep", "'kv-${take(plain, 7)}-${token}'", "'kv_${take(plain, 7)}_${token}'"),
    ("main.bicep", "'st${take(plain, 9)}${token}'", "'st${take(plain, 9)}-${token}'"),
]


def words_unknown_to_the_code(deployment: Deployment) -> set[str]:
    queries = promises.rule_queries(deployment) | promises.workbook_queries(deployment)
    return {word for query in queries.values() for word in promises.unknown_words(query)}


def kinds_that_are_badly_named(deployment: Deployment) -> set[str]:
    return {named.partition(" ")[0] for named in promises.badly_named(deployment)}


VAULT, INSIGHTS, STORAGE = (
    "Microsoft.KeyVault/vaults",
    "Microsoft.Insights/components",
    "Microsoft.Storage/storageAccounts",
)
FOUND: list[tuple[Callable[[Deployment], Any], set[Any]]] = [
    (promises.wrong_settings, {"LEADS_KEY_VAULT_URI", "LEADS_VAULT_URI", "LEADS_RETENTION_DAYS", "LEADS_KEEP_DAYS"}),
    (promises.missing_storage, {"leads-notices", "leads-notes", "LeadCounts", "LeadCount"}),
    (
        promises.wrong_rights,
        {
            (promises.APP, INSIGHTS, "Monitoring Metrics Publisher"),
            (promises.APP, STORAGE, "Monitoring Metrics Publisher"),
            (promises.APP, VAULT, "Key Vault Secrets User"),
            (promises.APP, VAULT, "00482a5a-887f-4fb3-b363-3b7fe8e74483"),
        },
    ),
    (promises.unwatched_alarms, {"offer_silent"}),
    (
        words_unknown_to_the_code,
        {"offer_quiet", "offer_speaks", "hours", "expected", "offer", "cause", "step", "watcher"},
    ),
    (kinds_that_are_badly_named, {VAULT, STORAGE}),
]


@pytest.fixture(scope="module")
def changed(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """What would be deployed with all things renamed."""
    root = tmp_path_factory.mktemp("renamed")
    shutil.copytree(INFRA, root / "infra")
    for name, old, new in RENAMES:
        path = root / "infra" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    parameters = root / PARAMETERS.relative_to(INFRA.parent) / "second.bicepparam"
    parameters.parent.mkdir(parents=True)
    shutil.copy(PARAMETERS / parameters.name, parameters)
    return compiler.predict(parameters)


@pytest.mark.parametrize(("check", "found"), FOUND, ids=lambda value: getattr(value, "__name__", ""))
def test_a_check_finds_what_was_renamed_and_nothing_else(
    check: Callable[[Deployment], Any], found: set[Any], predicted: Predicted, changed: Deployment
) -> None:
    assert check(predicted("second")) == set()
    assert check(changed) == found
