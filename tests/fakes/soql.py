"""The part of SOQL that a lead connector speaks: queries with subqueries, conditions, an order and a limit.

As in the "SOQL and SOSL Reference": a string's escape sequences ("Quoted String Escape Sequences"), AND and OR that are not mixed
without parentheses, text that compares without regard to case, date-times without quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

Condition = Callable[[Mapping[str, Any]], bool]

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^'\\\n\r]|\\.)*')
      | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)
      | (?P<number>\d+)
      | (?P<word>[A-Za-z_][\w.]*)
      | (?P<sign><=|>=|!=|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}


class MalformedQuery(Exception):
    """The text is not a query."""


@dataclass
class Query:
    """A query; `fields` are the columns that its conditions and order use."""

    table: str
    columns: list[str]
    subqueries: list[Query] = field(default_factory=list)
    condition: Condition = lambda row: True
    order: list[tuple[str, bool]] = field(default_factory=list)
    limit: int = 2000
    fields: set[str] = field(default_factory=set)

    def choose(self, rows: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The rows that it asks for."""
        chosen = [row for row in rows if self.condition(row)]
        for name, descending in reversed(self.order):
            chosen.sort(key=lambda row: _sortable(row.get(name)), reverse=descending)
        return chosen[: self.limit]


def parse(text: str) -> Query:
    """Raises `MalformedQuery`."""
    parser = _Parser(list(_tokens(text)))
    query = parser.query()
    if parser.peek() != ("end", ""):
        raise MalformedQuery(f"unexpected token: {parser.peek()[1]!r}")
    return query


def string_value(literal: str) -> str:
    """The text of a string literal. Raises `MalformedQuery` for a backslash that begins no escape sequence."""

    def unescaped(match: re.Match[str]) -> str:
        sequence = match[1]
        if sequence[0] == "u":
            return chr(int(sequence[1:], 16))
        if sequence.lower() in _ESCAPES:
            return _ESCAPES[sequence.lower()]
        raise MalformedQuery("Invalid string literal: illegal character sequence")

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", unescaped, literal[1:-1], flags=re.DOTALL)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            raise MalformedQuery("line 1: no viable alternative at this character")
        yield str(found.lastgroup), found[str(found.lastgroup)]
        at = found.end()


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._fields: list[set[str]] = []

    def peek(self) -> tuple[str, str]:
        return self._tokens[0] if self._tokens else ("end", "")

    def query(self) -> Query:
        self._expect("SELECT")
        columns: list[str] = []
        subqueries: list[Query] = []
        while True:
            if self._take("("):
                subqueries.append(self.query())
                self._expect(")")
            else:
                columns.append(self._word())
            if not self._take(","):
                break
        self._expect("FROM")
        made = Query(self._word(), columns, subqueries)
        self._fields.append(made.fields)
        if self._take("WHERE"):
            made.condition = self._condition()
        if self._take("ORDER"):
            self._expect("BY")
            made.order = self._order()
        if self._take("LIMIT"):
            made.limit = int(self._tokens.pop(0)[1])
        self._fields.pop()
        return made

    def _order(self) -> list[tuple[str, bool]]:
        order = []
        while True:
            name = self._name()
            order.append((name, bool(self._take("DESC"))))
            self._take("ASC")
            if not self._take(","):
                return order

    def _condition(self) -> Condition:
        parts = [self._comparison()]
        joined_by = ""
        while self.peek()[1].upper() in {"AND", "OR"}:
            word = self._tokens.pop(0)[1].upper()
            if joined_by not in ("", word):
                raise MalformedQuery("AND and OR need parentheses")
            joined_by = word
            parts.append(self._comparison())
        holds = any if joined_by == "OR" else all
        return lambda row: holds(part(row) for part in parts)

    def _comparison(self) -> Condition:
        if self._take("("):
            inner = self._condition()
            self._expect(")")
            return inner
        name = self._name()
        sign = self._tokens.pop(0)[1]
        value = self._value()
        return lambda row: _compare(row.get(name), sign, value)

    def _value(self) -> Any:
        if not self._tokens:
            raise MalformedQuery("unexpected end of query")
        kind, text = self._tokens.pop(0)
        match kind:
            case "string":
                return string_value(text)
            case "datetime":
                return datetime.fromisoformat(text)
            case "number":
                return int(text)
            case "word" if text.lower() in {"true", "false", "null"}:
                return {"true": True, "false": False, "null": None}[text.lower()]
        raise MalformedQuery(f"unexpected token: {text!r}")

    def _name(self) -> str:
        name = self._word()
        self._fields[-1].add(name)
        return name

    def _word(self) -> str:
        kind, text = self.peek()
        if kind != "word":
            raise MalformedQuery(f"unexpected token: {text!r}")
        self._tokens.pop(0)
        return text

    def _take(self, text: str) -> bool:
        if self.peek()[1].upper() != text or self.peek()[0] == "string":
            return False
        self._tokens.pop(0)
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise MalformedQuery(f"expecting {text}, found {self.peek()[1]!r}")


def _compare(left: Any, sign: str, right: Any) -> bool:
    if isinstance(right, datetime):
        left = datetime.fromisoformat(left) if left else None
    if isinstance(left, str) and isinstance(right, str):
        left, right = left.casefold(), right.casefold()
    if sign in {"=", "!="}:
        return bool((left == right) is (sign == "="))
    if left is None or right is None:
        return False
    return bool({"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[sign])


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)
