"""CSV files with leads are read in any usual encoding, quoting, delimiter and order of columns."""

from __future__ import annotations

import csv
import io
import re
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.cli.csv_file import read_csv
from leads.operations.problems import Invalid

HEADER = ["First name", "Email address", "Notes"]
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
ROW = ["Zoë", "zoe@example.com", 'says "hi", twice\nover two lines']


def workbook() -> bytes:
    """The begin of a file of the type .xlsx: a ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return out.getvalue()


def written(rows: list[list[str]], delimiter: str = ",", end: str = "\r\n") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_encodings_delimiters_and_line_ends(encoding: str, delimiter: str, end: str) -> None:
    found = read_csv(written([HEADER, ROW, ROW], delimiter, end).encode(encoding))
    assert found.columns == HEADER
    assert found.rows == [(number, dict(zip(HEADER, ROW, strict=True))) for number in (2, 3)]
    assert not found.bad


def test_a_line_that_says_what_separates_is_heeded() -> None:
    found = read_csv(b"sep=;\r\nEmail;Title\r\na@example.com;CTO, owner\r\n")
    assert found.rows == [(2, {"Email": "a@example.com", "Title": "CTO, owner"})]


def test_a_file_that_ends_within_a_quoted_cell_says_that_rows_are_missing() -> None:
    found = read_csv(b'Email,Notes\na@example.com,"fine"\nb@example.com,"cut off\nc@example.com,swallowed\n')
    assert found.rows == [(2, {"Email": "a@example.com", "Notes": "fine"})]
    assert found.bad == [(3, "has a quote that is never closed, so all rows after it are missing")]
    with pytest.raises(Invalid, match="first row"):
        read_csv(b'Email,"Notes\na@example.com,fine\n')


def test_a_comma_within_quotes_of_the_header_separates_nothing() -> None:
    assert read_csv(b'"Name, first; or given";Email\r\nAda;a@example.com').columns == ["Name, first; or given", "Email"]


def test_bad_rows_are_reported_by_number_and_the_others_are_read() -> None:
    found = read_csv(b"Email,Company\na@example.com,A\n\nc@example.com,C,D\nd@example.com,D,\n")
    assert [(number, row["Email"]) for number, row in found.rows] == [(2, "a@example.com"), (5, "d@example.com")]
    assert found.bad == [(4, "has 3 columns, and the header 2; is a quote missing?")]


def test_cells_that_are_missing_at_a_rows_end_are_empty() -> None:
    found = read_csv(b"Email,Company,Notes\na@example.com,A\nb@example.com\n")
    assert [row for _, row in found.rows] == [
        {"Email": "a@example.com", "Company": "A", "Notes": ""},
        {"Email": "b@example.com", "Company": "", "Notes": ""},
    ]
    assert not found.bad


def test_a_row_that_swallows_the_rest_of_the_file_is_bad() -> None:
    found = read_csv(b'Email,Company\na@example.com,A\nb@example.com,"B' + b"x\n" * 300_000)
    assert [number for number, _ in found.rows] == [2]
    assert found.bad[0][0] == 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b",,,\n1,2,3,4", "is empty"),
        (b"Email,Email\na,b", "two columns are called Email"),
        (workbook(), "is an Excel workbook"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500), "is an Excel workbook"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF file"),
        (b"\x1f\x8b\x08\x00" + bytes(range(256)), "is a compressed file"),
        (bytes(range(256)), "is not text"),
    ],
)
def test_what_is_no_csv_file_with_a_header_is_refused_and_nothing_of_it_is_shown(content: bytes, problem: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_csv(content)
    assert str(refused.value).startswith(f"FILE: {problem}")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 150


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
hostile = (
    st.sampled_from(['"', '""', ",", ";", "\t", "\n", "\r\n", "=1+1", "@x", "sep=;", "'", "\ufeff", "\u2028"]) | cells
)


@given(st.lists(st.lists(hostile, min_size=3, max_size=3).filter(any), max_size=5), st.sampled_from(",;\t"))
def test_whatever_a_writer_of_csv_writes_is_read_back(rows: list[list[str]], delimiter: str) -> None:
    found = read_csv(written([HEADER, *rows], delimiter).encode())
    assert [list(row.values()) for _, row in found.rows] == rows


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: b"PK\x03\x04" + rest))
def test_any_bytes_are_rows_or_a_clear_refusal(content: bytes) -> None:
    try:
        found = read_csv(content)
    except Invalid as refusal:
        assert str(refusal).startswith("FILE: ")
    else:
        assert all(len(row) == len(found.columns) for _, row in found.rows)
        assert not any(map(UNPRINTABLE.search, found.columns))


@given(
    st.lists(st.lists(st.sampled_from(["", "a", "b,c"]), min_size=3, max_size=3).filter(any), max_size=5),
    st.integers(0, 2),
)
def test_a_row_is_the_same_with_its_empty_cells_at_the_end_and_without(rows: list[list[str]], kept: int) -> None:
    def cut(row: list[str]) -> list[str]:
        while len(row) > kept and not row[-1]:
            row = row[:-1]
        return row

    found = read_csv(written([HEADER, *map(cut, rows)]).encode())
    assert [list(row.values()) for _, row in found.rows] == rows
    assert not found.bad
