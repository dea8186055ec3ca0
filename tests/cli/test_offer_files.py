"""Files with offers: YAML or JSON, one offer or many, and errors of one line."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leads.cli.files import read_offers, read_yaml
from leads.offers.model import InvalidOffer
from leads.operations.problems import Problem

ONE = {"id": "contoso.crm", "destinations": [{"name": "table", "type": "azure_table"}]}
OTHER = ONE | {"id": "*"}
WITH_A_SECRET = {"name": "x", "type": "azure_table", "settings": {"connection_string": "AccountKey=s3cret"}}


def ids(tmp_path: Path, content: str | bytes, name: str = "offers.yaml") -> list[str]:
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return [offer.id for offer in read_offers(str(file))]


@pytest.mark.parametrize("name", ["offers.yaml", "offers.yml", "offers.json", "offers", "offers.txt"])
@pytest.mark.parametrize("written", [[ONE, OTHER], {"offers": [ONE, OTHER]}])
def test_offers_are_read_from_json_whatever_the_file_is_called(tmp_path: Path, name: str, written: Any) -> None:
    assert ids(tmp_path, json.dumps(written), name) == ["contoso.crm", "*"]


@pytest.mark.parametrize("name", ["offers.yaml", "offers"])
@pytest.mark.parametrize(
    "written",
    [yaml.safe_dump([ONE, OTHER]), yaml.safe_dump({"offers": [ONE, OTHER]}), yaml.safe_dump_all([ONE, OTHER])],
    ids=["list", "named list", "documents"],
)
def test_offers_are_read_from_yaml_in_every_form(tmp_path: Path, name: str, written: str) -> None:
    assert ids(tmp_path, "\ufeff# our offers\n" + written, name) == ["contoso.crm", "*"]


@pytest.mark.parametrize("written", [json.dumps(ONE), yaml.safe_dump(ONE)])
def test_one_offer_is_enough_and_standard_input_is_read_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    assert ids(tmp_path, written) == ["contoso.crm"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written.encode())))
    assert [offer.id for offer in read_offers("-")] == ["contoso.crm"]


def test_plain_words_mean_what_yaml_1_2_says() -> None:
    """In 1.1 `NO`, the country, is false, `2026-01-31` a date and `010` the number eight."""
    assert read_yaml(b"[NO, yes, on, 2026-01-31, 010, 1:30, true, ~, 5, 1.5, '5']") == [
        *("NO", "yes", "on", "2026-01-31", "010", "1:30"),
        *(True, None, 5, 1.5, "5"),
    ]


def test_anchors_and_merges_save_repetition(tmp_path: Path) -> None:
    text = """
    offers:
      - &first
        id: a.b
        destinations: [{name: table, type: azure_table}]
      - {<<: *first, id: a.c}
    """
    assert ids(tmp_path, text) == ["a.b", "a.c"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "FILE: holds no offer"),
        ("[]", "FILE: holds no offer"),
        ("offers: []", "FILE: holds no offer"),
        ("just words", "offer: must be an object"),
        ("id: a.b\nid: a.c", "FILE: is not YAML: a key occurs twice at line 2, column 1"),
        ("id: [", "FILE: is not YAML: "),
        ("\tid: a", "FILE: is not YAML: found character"),
        ("id: *gone", "FILE: is not YAML: found undefined alias"),
        ("!!python/object/apply:os.system ['true']", "FILE: is not YAML: could not determine a constructor"),
        ("id: !!timestamp x", "FILE: is not YAML: "),
        (b"id: \xff", "FILE: is not UTF-8; save it as UTF-8"),
        ("id: " + "9" * 5000, "FILE: is not YAML: it holds a character, number or depth that can't be read"),
        (json.dumps([ONE, ONE | {"id": "Contoso.CRM"}]), "offers[1].id: two offers of the file have this id"),
        (json.dumps([ONE, {"id": "a.b"}]), "offers[1].destinations: is missing: add it"),
        ("offers: {id: a.b}", "destinations: is missing: add it"),
        (
            json.dumps(ONE | {"destinations": [{"name": "x", "type": "crm"}]}),
            "destinations.0.type: is not a destination type; use ",
        ),
        (json.dumps(ONE | {"destinations": [WITH_A_SECRET]}), "destinations.0.settings.connection_string: must be a "),
        ("id: 5\ndestinations: [{name: table, type: azure_table}]", "id: Input should be a valid string"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_the_place(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    with pytest.raises((InvalidOffer, Problem)) as refused:
        ids(tmp_path, content)
    assert str(refused.value).startswith(problem)
    assert "s3cret" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_one_error_lists_all_problems_of_a_file_by_offer(tmp_path: Path) -> None:
    hook = {"name": "hook", "type": "webhook", "settings": {"url": "http://example.com", "secret": "s3cret"}}
    crm = {"name": "crm", "type": "dataverse", "mapping": {"one": "{nope}", "two": "{none}"}}
    first = {"id": "", "destinations": [hook | {"pace": 0}]}
    second = {"id": "contoso.crm", "destinations": [hook, crm]}
    with pytest.raises(Problem) as refused:
        ids(tmp_path, json.dumps([first, second, {"id": "a.b"}, OTHER]))
    lines = str(refused.value).splitlines()
    assert lines[0] == "FILE: 8 fields are wrong"
    assert [line for line in lines if not line.startswith("  ")][1:] == ["offers[0]", "offers[1]", "offers[2]"]
    assert [line.split(": ")[0].strip() for line in lines[1:] if line.startswith("  ")] == [
        *("id", "destinations.0.pace", "destinations.0.settings.url", "destinations.0.settings.secret"),
        *("destinations.1.settings.url", "destinations.1.mapping.one", "destinations.1.mapping.two", "destinations"),
    ]
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("content", ["id: a.b", ""])
def test_a_json_file_is_held_to_json(tmp_path: Path, content: str) -> None:
    with pytest.raises(Problem, match=r"^FILE: is not JSON: Expecting value at line 1, column 1"):
        ids(tmp_path, content, "offers.json")


# PyYAML's own emitter loses these three line breaks, and writes plainly what is a number since YAML 1.2.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"), max_size=15).filter(
    lambda text: not re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?[0-9]+", text)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(
    content=st.binary(max_size=80) | st.text(alphabet="abid:-[]{}&*!?|>'\"#%\n\t 019.~<", max_size=60).map(str.encode)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_offers_or_refused_with_a_line_for_each_problem(tmp_path: Path, content: bytes) -> None:
    try:
        ids(tmp_path, content, "offers")
    except (InvalidOffer, Problem) as refused:
        first, *others = str(refused).splitlines()
        assert not others or first == f"FILE: {sum(line.startswith('  ') for line in others)} fields are wrong"


@given(value=JSON)
def test_whatever_is_written_as_yaml_is_read_as_it_was(value: Any) -> None:
    assert read_yaml(yaml.safe_dump(value, allow_unicode=True).encode()) == value
