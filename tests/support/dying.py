"""A process that dies in the middle of its work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from leads.platform.storage import Queue, Table
from tests.support.pipeline import Killed

CHANGES = ((Table, "write"), (Queue, "put"), (Queue, "receive"), (Queue, "delete"), (Queue, "show_again"))
READS = ((Table, "get"), (Table, "pages"))


class _Process:
    """Dies after its change of this number. From then on, nothing that it calls reaches storage."""

    def __init__(self, dies_after: int) -> None:
        self.changes_left, self.is_dead = dies_after, False

    def calls(self, method: Callable[..., Any], *, changes: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.is_dead:
                raise Killed
            result = method(*arguments, **options)
            self.changes_left -= changes
            self.is_dead = self.changes_left == 0
            if self.is_dead:
                raise Killed
            return result

        return call


def dies_after(change: int, work: Callable[[], object]) -> bool:
    """Work until the end, or until the change of this number to a table or queue. Returns whether the process died."""
    process = _Process(change)
    with pytest.MonkeyPatch.context() as patch:
        for methods, changes in ((CHANGES, True), (READS, False)):
            for kind, name in methods:
                patch.setattr(kind, name, process.calls(getattr(kind, name), changes=changes))
        with suppress(Killed):  # here, so that the process's generators end before storage is reachable again
            work()
    return process.is_dead
