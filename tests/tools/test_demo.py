"""tools/demo.py: expected results of samples, and the table."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tools.demo import Expected, Posted, as_table, complaint, read_samples

ROW = {"FirstName": "Avery", "LastName": "Howard", "Company": "Fabrikam", "Offer": "contoso.crm"}


def posted(expected: str, state: str, row: dict[str, Any], status: int = 202) -> Posted:
    wanted = Expected(status=202, state=expected, path="/api/leads", why="A sample.")
    return Posted("01-sample.json", wanted, status, "id", state, row)


@pytest.mark.parametrize(
    ("sample", "right"),
    [
        (posted("delivered", "delivered", ROW), True),
        (posted("delivered", "delivered", {}), False),
        (posted("delivered", "retry", {}), False),
        (posted("delivered", "duplicate", {}), False),
        (posted("delivered", "delivered", ROW, status=200), False),
        (posted("duplicate", "duplicate", {}), True),
        (posted("duplicate", "duplicate", ROW), False),
        (posted("duplicate", "delivered", ROW), False),
    ],
)
def test_a_sample_is_right_where_answer_state_and_row_are(sample: Posted, right: bool) -> None:
    assert sample.is_right() is right


def test_in_kept_storage_a_sample_may_be_a_redelivery() -> None:
    assert posted("delivered", "duplicate", {}).is_right(kept_storage=True)
    assert not posted("delivered", "retry", {}).is_right(kept_storage=True)


def test_a_complaint_says_what_was_expected_and_what_was_found() -> None:
    said = complaint(posted("delivered", "retry", {}))
    assert said == "01-sample.json: expected 202, delivered; found 202, retry, no row. A sample."


def print_table(samples: list[Posted], width: int) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=width).print(as_table(samples))
    return output.getvalue().splitlines()


def test_the_table_is_one_plain_line_a_sample_however_long_the_text() -> None:
    long = dict.fromkeys(ROW, "a very long text " * 20)
    lines = print_table([posted("delivered", "delivered", row) for row in (ROW, long)], 100)
    assert all(len(line) <= 100 for line in lines)
    assert sum("01-sample" in line for line in lines) == 2
    assert len([line for line in lines if line.strip()]) == 2 + 2  # titles, a rule, and the samples
    assert "Avery Howard" in lines[3]
    assert "…" in lines[4]


def test_a_customers_text_is_shown_as_it_is() -> None:
    row = ROW | {"FirstName": "[bold]A", "LastName": "line\nbreak"}
    assert any("[bold]A line br" in line for line in print_table([posted("delivered", "delivered", row)], 120))


def test_a_sample_that_is_not_right_is_marked() -> None:
    lines = print_table([posted("delivered", "retry", {})], 100)
    assert any("✗ retry" in line for line in lines)


def test_every_sample_file_is_expected_somewhere() -> None:
    assert len(read_samples()) >= 20
