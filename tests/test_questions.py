"""What people ask has an answer within two clicks of the README."""

from __future__ import annotations

import re

import pytest

from tests.test_docs import DOCS, LINK, ROOT, anchors, linked_from

PAGE = DOCS / "questions.md"
QUESTIONS = re.findall(r"^\| \d+ \| ([^|]+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)


def test_there_are_questions_and_the_readme_leads_to_them() -> None:
    assert len(QUESTIONS) == 34
    assert PAGE in linked_from(ROOT / "README.md")


@pytest.mark.parametrize(("question", "answer"), QUESTIONS, ids=[question for question, _ in QUESTIONS])
def test_each_question_leads_to_a_section_that_there_is(question: str, answer: str) -> None:
    targets = [target.partition("#") for target in LINK.findall(answer)]
    assert question.endswith("?") and targets
    for file, _, anchor in targets:
        page = (DOCS / file).resolve() if file else PAGE
        assert page.is_file() and anchor in anchors(page), f"{file}#{anchor}"
