"""The demonstration of `make run`: posts the sample leads over HTTP, and shows the result of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient
from pydantic import BaseModel
from rich import box
from rich.table import Table
from rich.text import Text

from leads.cli.environment import APP_VARIABLES
from tools.core_tools import HTTP
from tools.host import ROOT, Host, RunError

SAMPLES = ROOT / "samples"
TABLE = "MarketplaceLeads"
SETTLE_SECONDS = 90.0
# States that a lead does not leave by itself, so that waiting longer would change nothing.
FINAL = {"delivered", "duplicate", "skipped", "unreadable", "dead_letter", "held"}


class Expected(BaseModel):
    """The entry of one file in samples/expected.json."""

    status: int
    state: str
    path: str
    why: str
    content_type: str = "application/json"


@dataclass
class Posted:
    """A sample lead and its result."""

    name: str
    expected: Expected
    status: int
    lead_id: str = ""  # empty if the answer has no id
    state: str = ""
    row: dict[str, Any] = field(default_factory=dict)  # the lead's row in the table

    def is_right(self, *, kept_storage: bool = False) -> bool:
        """Whether the result is as expected. In storage of an earlier run, the same sample may be a redelivery."""
        if self.status != self.expected.status:
            return False
        if kept_storage and self.expected.state == "delivered" and self.state == "duplicate":
            return True
        return self.state == self.expected.state and bool(self.row) == (self.state == "delivered")


def configure_offers(storage: str, *, only_missing: bool = False) -> None:
    """Store the offers of samples/offers through the command line, as a publisher would."""
    stored = (
        {offer["id"] for offer in json.loads(run_leads(storage, "offers", "list", "--json"))} if only_missing else {}
    )
    samples = [json.loads(path.read_text()) for path in sorted((SAMPLES / "offers").glob("*.json"))]
    if missing := [offer for offer in samples if offer["id"] not in stored]:
        run_leads(storage, "offers", "set", "-", typed=json.dumps(missing))


def read_samples() -> dict[str, Expected]:
    """The sample files, in the order in which they are posted."""
    expected = json.loads((SAMPLES / "expected.json").read_text())
    return {name: Expected.model_validate(expected[name]) for name in sorted(expected)}


def post_samples(host: Host) -> Iterator[Posted]:
    posted: list[Posted] = []
    for name, expected in read_samples().items():
        if expected.state == "duplicate":
            # If two leads wait at the same time, either may be handled first, and the other is the duplicate.
            wait_until_settled(host, posted)
        headers = {"Content-Type": expected.content_type}
        status, answer = call_app(host, expected.path, (SAMPLES / name).read_bytes(), headers)
        posted.append(Posted(name, expected, status, answer.get("lead_id", "")))
        yield posted[-1]


def settle(host: Host, posted: list[Posted], storage: str) -> None:
    """Wait until all samples are settled, and note their states and rows."""
    wait_until_settled(host, posted)
    rows = read_rows(storage)
    for sample in posted:
        sample.row = rows.get(sample.lead_id, {})


def wait_until_settled(host: Host, posted: list[Posted]) -> None:
    """Wait until all samples are settled, at most `SETTLE_SECONDS`."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        moving = [sample for sample in posted if sample.lead_id and sample.state not in FINAL]
        if not moving or time.monotonic() > deadline:
            return
        for sample in moving:
            _, answer = call_app(host, f"/api/status/{sample.lead_id}")
            sample.state = answer.get("state", "unknown")
        time.sleep(0.1)


def read_rows(storage: str) -> dict[str, dict[str, Any]]:
    """The rows of the table, by lead id."""
    with TableClient.from_connection_string(storage, TABLE) as table:
        try:
            return {row["RowKey"]: dict(row) for row in table.list_entities()}
        except ResourceNotFoundError:
            return {}


def as_table(posted: list[Posted]) -> Table:
    """One line for each sample: the answer, the state, and the main columns of its row."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, expand=True)
    table.add_column("Sample", ratio=8, no_wrap=True)
    table.add_column("HTTP", width=4)
    table.add_column("State", width=12, no_wrap=True)
    table.add_column("Customer", ratio=5, no_wrap=True)
    table.add_column("Company", ratio=4, no_wrap=True)
    table.add_column("Offer", width=11, no_wrap=True)
    table.add_column("Stage", width=17, no_wrap=True)
    for sample in posted:
        right = sample.is_right()
        state = Text(f"{'✓' if right else '✗'} {sample.state or 'unknown'}", style="green" if right else "bold red")
        row = sample.row
        customer = f"{row.get('FirstName', '')} {row.get('LastName', '')}".strip() or row.get("Email", "")
        cells = (customer, row.get("Company", ""), row.get("Offer", ""), row.get("Stage", ""))
        table.add_row(
            _cell(sample.name.removesuffix(".json")), str(sample.status), state, *(_cell(text) for text in cells)
        )
    return table


def complaint(sample: Posted) -> str:
    """One line about a result that is not as expected."""
    wanted = sample.expected
    found = f"{sample.status}, {sample.state or 'unknown'}, {'a row' if sample.row else 'no row'}"
    return f"{sample.name}: expected {wanted.status}, {wanted.state}; found {found}. {wanted.why}"


def _cell(text: str) -> Text:
    """A customer's text on one line, not interpreted as markup."""
    return Text(" ".join(text.split()), overflow="ellipsis")


def run_leads(storage: str, *arguments: str, typed: str = "") -> str:
    """Run `python -m leads` on the storage. Returns its output. `typed`: its standard input. Raises RunError if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "leads", *arguments],
        cwd=ROOT,
        # A shell that names a deployed app would have the command reach that app instead.
        env={**{name: os.environ[name] for name in os.environ if name not in APP_VARIABLES}, "LeadsStorage": storage},
        input=typed,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RunError(f"python -m leads {' '.join(arguments[:2])} failed: {said[-1] if said else 'it said nothing'}")
    return done.stdout


def call_app(
    host: Host, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """POST a body, or GET without a body. Returns status and JSON answer; {} if the answer is not a JSON object."""
    request = urllib.request.Request(
        host.base_url + path, data=body, headers={"x-functions-key": host.key, **(headers or {})}
    )
    try:
        with HTTP.open(request, timeout=30) as response:
            return response.status, _json(response.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, _json(refusal.read())
    except OSError as error:
        raise RunError(f"{host.name} does not answer at {host.base_url} ({error}); its log: {host.log_file}") from None


def _json(text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
