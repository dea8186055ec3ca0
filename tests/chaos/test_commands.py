"""A command that is killed after each request by which it changes something, and run again: the same result.

Whoever dies before a change, or after another request, leaves storage as it is after the one before: that is tried besides with
EACH_REQUEST=1.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from leads import cli
from tests.chaos.every_request import AMONG, WAYS, KillAt
from tests.support.killed_command import is_killed
from tests.support.pipeline import Pipeline, TestClock, a_lead, crm
from tests.support.vendor import DELIVERED, REJECTED, Vendor

PEOPLE = ("ada@example.com", "grace@example.com")


@dataclass
class Scene:
    """An account with what a command is to work on."""

    pipeline: Pipeline
    vendor: Vendor
    folder: Path
    leads: list[str] = field(default_factory=list)

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def rejected(self) -> None:
        """Two leads that the vendor has refused, and would take now."""
        self.vendor.answers(REJECTED, REJECTED, DELIVERED)
        self.leads = [self.pipeline.post(a_lead(email)) for email in PEOPLE]
        self.pipeline.run()
        self.vendor.calls.clear()

    def listed(self) -> str:
        """A list of two leads that never came."""
        at = self.pipeline.clock.now() - timedelta(days=9)
        rows = "".join(f"{email},INS,Contoso CRM,{at:%m/%d/%Y %H:%M:%S}\n" for email in PEOPLE)
        return self.file("leads.csv", f"Email,ActionCode,Offer name,CreatedTime\n{rows}")


def replay_many(scene: Scene) -> list[str]:
    scene.rejected()
    return ["replay", "--offer", "contoso.crm", "--yes"]


def replay_forced(scene: Scene) -> list[str]:
    scene.leads = [scene.pipeline.post(a_lead(email)) for email in PEOPLE[:1]]
    scene.pipeline.run()
    scene.vendor.calls.clear()
    return ["replay", scene.leads[0], "--force"]


def correct(scene: Scene) -> list[str]:
    scene.rejected()
    return ["replay", scene.leads[0], "--fields", scene.file("fields.json", json.dumps({"company": "Corrected"}))]


def reconcile(scene: Scene) -> list[str]:
    return ["reconcile", scene.listed(), "--import"]


COMMANDS: dict[str, Callable[[Scene], list[str]]] = {
    command.__name__: command for command in (replay_many, replay_forced, correct, reconcile)
}


@pytest.fixture
def scenes(
    accounts: Iterator[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[Callable[[Scene], list[str]]], tuple[Scene, list[str]]]]:
    test_clock = TestClock()
    with Vendor() as vendor:

        def make(command: Callable[[Scene], list[str]]) -> tuple[Scene, list[str]]:
            vendor.works()
            vendor.calls.clear()
            pipeline = Pipeline(next(accounts), monkeypatch, test_clock)
            pipeline.offer(crm(vendor.url))
            scene = Scene(pipeline, vendor, tmp_path)
            return scene, command(scene)

        yield make


def result(scene: Scene) -> tuple[object, ...]:
    """What the vendor was told, and how the leads ended, without what is another one each time."""
    scene.pipeline.advance(30)
    while scene.pipeline.queue.depth():  # the command has its own queue, whose delays are real
        time.sleep(0.1)
        scene.pipeline.advance(30)
    calls = Counter((call.lead["email"], call.stage, call.lead.get("company", "")) for call in scene.vendor.calls)
    return calls, scene.pipeline.states()


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_each_change_and_run_again_the_result_is_the_same(
    name: str,
    scenes: Callable[[Callable[[Scene], list[str]]], tuple[Scene, list[str]]],
    record_property: Callable[[str, object], None],
) -> None:
    scene, arguments = scenes(COMMANDS[name])
    assert cli.main(arguments) in {0, 5}
    undisturbed = result(scene)
    assert undisturbed[1], "it has done something"
    kills = 0
    for way in WAYS:
        number = 1
        while True:
            scene, arguments = scenes(COMMANDS[name])
            storage = scene.pipeline.app.settings.storage_connection_string
            if not is_killed(storage, KillAt(number, way, AMONG), *arguments):
                break
            kills, number = kills + 1, number + 1
            assert cli.main(arguments) in {0, 1, 2, 5}
            assert result(scene) == undisturbed, f"killed {way} change {number - 1}"
    assert kills >= 2
    record_property("summary", f"{name}: {kills} kills")
