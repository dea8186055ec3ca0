"""Reads files with offers that people write: YAML or JSON, one offer or many."""

import re
import sys
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from leads.offers.model import InvalidOffer, Offer
from leads.operations.offers import check_offer
from leads.operations.problems import Invalid
from leads.operations.wire import read_json

STANDARD_INPUT: Final = "-"


def read_bytes(file: str) -> bytes:
    """The file's content, or standard input's. Raises `Invalid`."""
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a file name"
        raise Invalid(f"FILE: {file} can't be read ({why}); name a file, or - for standard input") from None


def read_offers(file: str) -> list[Offer]:
    """The offers of a file. Raises `Invalid`, which names each wrong field and its place."""
    offers: dict[str, Offer] = {}
    wrong: dict[str, tuple[str, ...]] = {}
    for place, item in _places(_decoded(file, read_bytes(file))):
        try:
            offer = check_offer(item)
        except InvalidOffer as error:
            wrong[place] = error.problems
            continue
        if offer.id.casefold() in offers:
            wrong[place] = ("id: two offers of the file have this id; leave one of them out",)
        offers[offer.id.casefold()] = offer
    if wrong:
        raise Invalid(_in_groups(wrong))
    if not offers:
        raise Invalid("FILE: holds no offer")
    return list(offers.values())


def _in_groups(wrong: Mapping[str, tuple[str, ...]]) -> str:
    """The text of an error: one problem as one line, several in a list by offer."""
    count = sum(map(len, wrong.values()))
    if count == 1:
        return "".join(f"{place}{problem}" for place, (problem,) in wrong.items())
    lines = [f"FILE: {count} fields are wrong"]
    for place, problems in wrong.items():
        lines += [place.removesuffix(".")] if place else []
        lines += [f"  {problem}" for problem in problems]
    return "\n".join(lines)


def _decoded(file: str, content: bytes) -> object:
    suffix = Path(file).suffix.lower()
    begins_as_json = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"{", b"[", b'"', b""}
    if suffix == ".json" or (begins_as_json and suffix not in {".yaml", ".yml"}):
        return read_json(content, "FILE")
    return read_yaml(content)


def _places(data: object) -> Iterator[tuple[str, object]]:
    """Each offer, with its place in the file. A file holds one offer, a list, or a list under the name `offers`."""
    if isinstance(data, dict) and "offers" in data and "id" not in data:
        data = data["offers"]
    if isinstance(data, list):
        yield from ((f"offers[{number}].", item) for number, item in enumerate(data))
    else:
        yield "", data


def read_yaml(content: bytes) -> object:
    """Decode YAML; several documents are a list. Raises `Invalid` with the place of the error."""
    try:
        documents = list(yaml.load_all(content.decode("utf-8-sig"), _Loader))
    except UnicodeDecodeError:
        raise Invalid("FILE: is not UTF-8; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Invalid(f"FILE: is not YAML: {error.problem or 'it is unreadable'}{where}") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError):
        raise Invalid("FILE: is not YAML: it holds a character, number or depth that can't be read") from None
    return documents[0] if len(documents) == 1 else documents


class _Loader(yaml.SafeLoader):
    """Reads plain words as YAML 1.2 does: `NO` is a country and not a boolean, and a date is text. A key occurs once."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute, which it replaces itself

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == _TEXT and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, "a key occurs twice", key.start_mark)
            seen.add(key.value if key.tag == _TEXT else object())
        return super().construct_mapping(node, deep)


_TEXT: Final = "tag:yaml.org,2002:str"
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
