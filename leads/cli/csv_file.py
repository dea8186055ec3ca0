"""Reads a CSV file with leads, in any usual encoding, quoting, delimiter and order of columns."""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

from leads.core.lenient_json import text_of_body
from leads.operations.problems import Invalid
from leads.pipeline.intake import MAX_BODY_BYTES

_DELIMITERS: Final = ",;\t"
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_NO_CSV: Final = {
    b"PK\x03\x04": "an Excel workbook (.xlsx) or another ZIP archive",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel workbook (.xls)",
    b"%PDF": "a PDF file",
    b"\x1f\x8b": "a compressed file",
}
"""By its first bytes, a file that is not CSV: ZIP (.xlsx), the compound file of .xls (Microsoft, [MS-CFB] 2.2), PDF, gzip."""
_END: Final = "\0"
_HINT: Final = "save it as CSV (in Excel: Save As > CSV UTF-8), and name that file"


@dataclass(slots=True)
class CsvFile:
    """`rows`: the number in a spreadsheet (the header is 1), and the cells by column. `bad`: the number, and what is wrong."""

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)


def read_csv(content: bytes) -> CsvFile:
    """The file's rows. Raises `Invalid` if the content is not CSV or has no header.

    Spreadsheets leave out empty cells at the end of a row.
    """
    if kind := next((kind for start, kind in _NO_CSV.items() if content.startswith(start)), ""):
        raise Invalid(f"FILE: is {kind}; {_HINT}")
    text = text_of_body(content)[0].removeprefix("\ufeff")
    delimiter, text = _delimiter(text)
    csv.field_size_limit(sys.maxsize)  # a row that is too long is bad, and the others stay good
    # A quote that is never closed takes in all that follows, also this last row.
    *rows, end = csv.reader(io.StringIO(f"{text}\n{_END}", newline=""), delimiter=delimiter)
    if not rows:
        raise Invalid("FILE: has a quote in its first row that is never closed")
    columns = _columns(rows[0])
    found = CsvFile(columns)
    if end != [_END]:
        found.bad.append((len(rows) + 1, "has a quote that is never closed, so all rows after it are missing"))
    for number, cells in enumerate(rows[1:], 2):
        if not any(cells):
            continue
        if any(cells[len(columns) :]):
            found.bad.append((number, f"has {len(cells)} columns, and the header {len(columns)}; is a quote missing?"))
            continue
        if sum(map(len, cells)) > MAX_BODY_BYTES:
            found.bad.append((number, f"has more than {MAX_BODY_BYTES} characters; is a quote missing?"))
            continue
        found.rows.append((number, dict(zip_longest(columns, cells[: len(columns)], fillvalue=""))))
    return found


def _delimiter(text: str) -> tuple[str, str]:
    """The delimiter, and the text without the line `sep=;`, which spreadsheets write."""
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == 5:
        return first[4], rest
    outside = "".join(first.split('"')[::2])
    return max(_DELIMITERS, key=outside.count), text


def _columns(header: Sequence[str]) -> list[str]:
    if any(map(_CONTROLS.search, header)):
        raise Invalid(f"FILE: is not text; {_HINT}")
    columns = [name.strip() or f"(column {number})" for number, name in enumerate(header, 1)]
    while columns and columns[-1] == f"(column {len(columns)})":
        columns.pop()
    if not columns:
        raise Invalid("FILE: is empty; its first row must name the columns")
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise Invalid(f"FILE: two columns are called {twice[0]}; rename one of them")
    return columns
