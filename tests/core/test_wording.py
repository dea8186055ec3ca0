"""leads/core/wording.py: one is no plural."""

from __future__ import annotations

import pytest

from leads.core.wording import counted


@pytest.mark.parametrize(("number", "words"), [(0, "0 leads"), (1, "1 lead"), (2, "2 leads")])
def test_a_number_has_its_noun(number: int, words: str) -> None:
    assert counted(number, "lead") == words
