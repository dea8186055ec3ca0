"""A message that kills its worker at every try: what it costs the host, and that it costs no other lead anything."""

from __future__ import annotations

from pathlib import Path

from devhost.supervisor import Supervisor
from leads.core.states import State
from tests.chaos.case import Case
from tests.support.app_folder import app_folder

DEADLY = "deadly@example.com"
TRIES = 4
DEATHS_THAT_END_A_HOST = 3


def test_its_tries_are_some_host_lives_then_it_is_poison_and_each_neighbour_arrives_once(
    case: Case, tmp_path: Path
) -> None:
    """Neighbours that were in hand each time become poison with it: one death counts against all. They are sent again alone."""
    deaths = tmp_path / "deaths"
    deaths.touch()
    case.lease_seconds = 10  # no death but those that are meant
    case.mode = ("--time", "restart=0.2", "--time", "second_restart=0.5")
    case.arguments = ("--no-http", "--app-dir", str(app_folder(tmp_path, queues={"maxDequeueCount": TRIES})))
    case.env = {
        "CHAOS_DEADLY": DEADLY,
        "CHAOS_DEATHS": str(deaths),
        "CHAOS_CRASH_DELAY": "200",
        "CHAOS_CLAIM_SECONDS": "20",
    }
    case.offer("crm")
    deadly = case.post(email=DEADLY)
    with Supervisor(case.start) as supervisor:
        for number in range(TRIES):
            case.post(email=f"early{number}@example.com")
            case.wait_until(lambda number=number: len(tries(deaths)) > number, "the next try")  # type: ignore[misc]
            case.post(email=f"late{number}@example.com")
        case.wait_until(
            lambda: state_of(case, deadly) is State.CRASHED, "the message in the ledger, from the poison queue"
        )
        assert len(tries(deaths)) == TRIES
        assert len(supervisor.hosts) == 1 + TRIES // DEATHS_THAT_END_A_HOST
        deaths.unlink()
        case.wait_until(case.is_finished, "every lead")
    assert case.vendors["crm"].records == dict.fromkeys(case.accepted, 1)
    assert len({call.customer for call in case.vendors["crm"].calls}) == len(case.accepted), "each one customer"


def tries(deaths: Path) -> list[str]:
    return deaths.read_text().splitlines()


def state_of(case: Case, lead_id: str) -> State | None:
    record = case.record(lead_id)
    return record.state if record else None
