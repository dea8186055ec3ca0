"""The OpenAPI document is true: Schemathesis drives the running app from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from leads.app import App
from leads.offers.model import read_offer
from leads.operations.table import OPERATIONS
from leads.pipeline.delivery import deliver
from leads.pipeline.intake import accept
from tests.e2e.conftest import app_on
from tests.support.pipeline import a_lead, text_of
from tests.support.running_app import PERSONAL_DATA_OVER_HTTP, running_app
from tools.host import ROOT

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
EXAMPLES = 5
"""Random requests for each operation; the same ones in each run."""
SEED = 20261


def what_there_is(app: App) -> dict[str, str]:
    """An offer with its connection, and a lead that was delivered; by the names that stand in addresses."""
    app.offers.save(read_offer({"id": "contoso.crm", "destinations": [{"name": "table", "type": "azure_table"}]}))
    lead = accept(app.incoming, json.dumps(a_lead()).encode(), "contoso.crm")
    for message in app.queue.receive(32, 30):
        deliver(app, text_of(message))
        app.queue.delete(message)
    (connection,) = app.connections.stored()
    return {
        "offer_id": "contoso.crm",
        "type": "azure_table",
        "connection_id": connection.id,
        "lead_id": lead.lead_id,
    }


def test_what_the_document_allows_is_answered_as_it_says(fresh_storage: str, tmp_path: Path) -> None:
    there_is = what_there_is(app_on(fresh_storage))
    # Without a worker, so that leads go nowhere.
    with running_app(fresh_storage, settings=PERSONAL_DATA_OVER_HTTP, only_http=True) as app:
        base = f"{app.host.base_url}/api/manage"
        # From a file: Schemathesis leaves out the operation from which it has loaded the document.
        document, report = tmp_path / "openapi.json", tmp_path / "report.json"
        document.write_bytes(app.call("GET", "/api/manage/openapi.json").body)
        arguments = [
            *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
            *("run", str(document), "--url", base),
            *("--header", f"x-functions-key: {app.host.function_keys['manage']}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
            *("--seed", str(SEED)),
            *("--checks", ",".join(CHECKS), "--warnings", "off", "--no-color"),
            *("--report", "json", "--report-json-path", str(report)),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", *arguments],
            cwd=tmp_path,
            env=os.environ
            | {
                "SCHEMATHESIS_HOOKS": "tests.support.api_hooks",
                "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis"),  # which characters there are, found out once
                "PYTHONPATH": str(ROOT),
                "THERE_IS": json.dumps(there_is),
            },
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        log = app.host.log
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Traceback" not in log
    found = json.loads(report.read_text())["operations"]
    assert (found["tested"], found["errored"], found["skipped"]) == (len(OPERATIONS), 0, 0)
