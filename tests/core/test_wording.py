"""leads/core/wording.py: one is no plural, and a code stands before the full stop."""

from __future__ import annotations

import pytest

from leads.core.wording import counted, with_code


@pytest.mark.parametrize(("number", "words"), [(0, "0 leads"), (1, "1 lead"), (2, "2 leads")])
def test_a_number_has_its_noun(number: int, words: str) -> None:
    assert counted(number, "lead") == words


@pytest.mark.parametrize(
    ("words", "code", "whole"),
    [
        ("It failed.", "E1", "It failed (E1)"),
        ("it failed", "E1", "it failed (E1)"),
        ("It failed.", "", "It failed."),
    ],
)
def test_a_code_takes_the_place_of_the_full_stop(words: str, code: str, whole: str) -> None:
    assert with_code(words, code) == whole
