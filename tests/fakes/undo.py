"""Undoes the changes of a failed change set. The cost grows with the changes, not with what is stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

MOST_CHANGES: Final = 2_000
"""In one change set: Dataverse takes 1,000 operations, Salesforce 25."""


class Undo:
    """The changes since `begin`, each with its reversal."""

    def __init__(self) -> None:
        self._steps: deque[Callable[[], object]] = deque(maxlen=MOST_CHANGES)

    def begin(self) -> None:
        self._steps.clear()

    def inserted(self, rows: dict[str, Any], key: str) -> None:
        self._steps.append(lambda: rows.pop(key, None))

    def changed(self, row: dict[str, Any]) -> None:
        """Call it before the row is changed."""
        before = dict(row)

        def restore() -> None:
            row.clear()
            row.update(before)

        self._steps.append(restore)

    def roll_back(self) -> None:
        while self._steps:
            self._steps.pop()()
