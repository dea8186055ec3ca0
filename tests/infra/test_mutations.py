"""The proof of the proof: rename one thing, in the templates alone, and a check finds it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.infra import promises
from tests.infra.bicep import INFRA, PARAMETERS, Deployment, predict
from tests.infra.conftest import Predicted


def words_unknown_to_the_code(deployment: Deployment) -> set[str]:
    queries = promises.rule_queries(deployment) | promises.workbook_queries(deployment)
    return {word for query in queries.values() for word in promises.unknown_words(query)}


RENAMES: list[tuple[str, str, str, Callable[[Deployment], Any]]] = [
    ("app.bicep", "LEADS_KEY_VAULT_URI", "LEADS_VAULT_URI", promises.wrong_settings),
    ("storage.bicep", "'leads-notices'", "'leads-notes'", promises.missing_storage),
    ("storage.bicep", "'LeadCounts'", "'LeadCount'", promises.missing_storage),
    ("rbac.bicep", "scope: insights", "scope: storage", promises.wrong_rights),
    (
        "rbac.bicep",
        "'4633458b-17de-408a-b874-0445c86b69e6'",
        "'00482a5a-887f-4fb3-b363-3b7fe8e74483'",
        promises.wrong_rights,
    ),
    ("queries/offer_silent.kql", "offer_silent", "offer_quiet", promises.unwatched_alarms),
    ("queries/offer_silent.kql", "offer_heard_again", "offer_speaks", words_unknown_to_the_code),
    ("queries/lead_crashed.kql", "fields.code", "fields.reason", words_unknown_to_the_code),
    ("queries/leads_per_day.kql", "fields.stage", "fields.step", words_unknown_to_the_code),
    ("queries/app_silent.kql", '"watch"', '"watcher"', words_unknown_to_the_code),
    ("main.bicep", "'kv-${take(plain, 7)}-${token}'", "'kv_${take(plain, 7)}_${token}'", promises.badly_named),
    ("main.bicep", "'st${take(plain, 9)}${token}'", "'st${take(plain, 9)}-${token}'", promises.badly_named),
]


@pytest.mark.parametrize(("name", "old", "new", "check"), RENAMES, ids=[f"{one[0]} {one[1]}" for one in RENAMES])
def test_a_renamed_thing_is_found(
    name: str, old: str, new: str, check: Callable[[Deployment], Any], predicted: Predicted, tmp_path: Path
) -> None:
    assert not check(predicted("second"))
    infra = shutil.copytree(INFRA, tmp_path / "changed")
    text = (infra / name).read_text()
    assert old in text
    (infra / name).write_text(text.replace(old, new))
    assert check(predict(PARAMETERS / "second.bicepparam", tmp_path, infra))
