"""OData conditions of the Table service, as far as the app uses them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import eq, ge, gt, le, lt
from typing import Any, Final

Row = Callable[[str], Any]
"""Gets the value of a column, None if it is missing."""
Test = Callable[[Row], bool]

_TOKEN: Final = re.compile(r"\s*([()]|datetime'[^']*'|'(?:[^']|'')*'|-?\w+)\s*")
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {"eq": eq, "gt": gt, "ge": ge, "lt": lt, "le": le}


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition. `partition` and `keys` narrow the rows that can meet it."""

    partition: str | None
    keys: tuple[tuple[str, str], ...]
    holds: Test

    def candidates(self, keys: list[str], after: str | None) -> list[str]:
        """The sorted row keys of a partition that can meet the condition and are behind `after`."""
        first, end = 0 if after is None else bisect_right(keys, after), len(keys)
        for how, bound in self.keys:
            if how in {"ge", "eq"}:
                first = max(first, bisect_left(keys, bound))
            if how == "gt":
                first = max(first, bisect_right(keys, bound))
            if how == "lt":
                end = min(end, bisect_left(keys, bound))
            if how in {"le", "eq"}:
                end = min(end, bisect_right(keys, bound))
        return keys[first:end]


@lru_cache(1000)
def parse_filter(text: str) -> Condition:
    """Parse comparisons of a column with a literal, `and`, `or` and parentheses. Raises ValueError for other syntax."""
    return _Parser(text).condition()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._required: list[tuple[str, str, Any]] = []
        self._tokens: list[str] = []
        end = 0
        while end < len(text):
            token = _TOKEN.match(text, end)
            if token is None:
                raise self._wrong()
            self._tokens.append(token[1])
            end = token.end()

    def condition(self) -> Condition:
        if not self._tokens:
            return Condition(None, (), lambda row: True)
        holds = self._any()
        if self._tokens:
            raise self._wrong()
        partitions = [value for name, how, value in self._required if (name, how) == ("PartitionKey", "eq")]
        keys = tuple((how, value) for name, how, value in self._required if name == "RowKey")
        return Condition(partitions[0] if partitions else None, keys, holds)

    def _any(self) -> Test:
        before = len(self._required)
        tests = [self._all()]
        while self._next_is("or"):
            tests.append(self._all())
        if len(tests) == 1:
            return tests[0]
        del self._required[before:]  # none of them must hold alone
        return lambda row: any(test(row) for test in tests)

    def _all(self) -> Test:
        tests = [self._comparison()]
        while self._next_is("and"):
            tests.append(self._comparison())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _comparison(self) -> Test:
        if self._next_is("("):
            inner = self._any()
            if not self._next_is(")"):
                raise self._wrong()
            return inner
        name, how, literal = self._tokens[:3] if len(self._tokens) >= 3 else ("", "", "")
        if how not in _COMPARE:
            raise self._wrong()
        del self._tokens[:3]
        compare, wanted = _COMPARE[how], _literal(literal)
        self._required.append((name, how, wanted))

        def holds(row: Row) -> bool:
            value = row(name)
            same_type = isinstance(value, type(wanted)) and isinstance(value, bool) is isinstance(wanted, bool)
            return same_type and compare(value, wanted)

        return holds

    def _next_is(self, token: str) -> bool:
        if self._tokens[:1] != [token]:
            return False
        del self._tokens[0]
        return True

    def _wrong(self) -> ValueError:
        return ValueError(f"a condition that the tests' storage does not know: {self._text}")


def _literal(token: str) -> Any:
    if token.startswith("datetime'"):
        return datetime.fromisoformat(token.removeprefix("datetime'").rstrip("'"))
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    return token == "true" if token in {"true", "false"} else int(token)
