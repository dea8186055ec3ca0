"""The OpenAPI document is true: Schemathesis drives the running app from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from devhost.process import ROOT
from leads.offers import read_offer
from tests.e2e.conftest import app_on
from tests.support.running_app import PERSONAL_DATA_OVER_HTTP, running_app

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
)
EXAMPLES = 8
"""Random requests for each operation."""


def test_what_the_document_allows_is_answered_as_it_says_and_nothing_without_the_key(
    fresh_storage: str, tmp_path: Path
) -> None:
    app_on(fresh_storage).offers.save(
        read_offer({"id": "contoso.crm", "destinations": [{"name": "table", "type": "azure_table"}]})
    )
    # Without a worker, so that leads go nowhere.
    with running_app(fresh_storage, "--no-queues", "--no-timers", settings=PERSONAL_DATA_OVER_HTTP) as app:
        base = f"{app.host.base_url}/api/manage"
        arguments = [
            *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
            *("run", f"{base}/openapi.json", "--url", base),
            *("--header", f"x-functions-key: {app.host.function_keys['manage']}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
            *("--checks", ",".join(CHECKS), "--warnings", "off", "--no-color"),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", *arguments],
            cwd=tmp_path,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.support.api_hooks", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        log = app.host.log
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Traceback" not in log
