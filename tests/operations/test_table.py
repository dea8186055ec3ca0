"""The table of operations gives addresses, methods, statuses and the OpenAPI document."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin, get_type_hints
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from leads.app import App
from leads.core.states import State
from leads.destinations import MODULES
from leads.offers.model import read_offer
from leads.operations.access import SHELL
from leads.operations.connections import Note, PauseConnection
from leads.operations.leads import LeadFilter
from leads.operations.offers import (
    OfferBody,
    RemoveOffer,
    SetOffer,
    ShownOffer,
    ShowOffer,
    list_offers,
    set_offer,
    show_offer,
)
from leads.operations.openapi import describe
from leads.operations.operation import BODY, PATH, Body, Location, Operation, Request, located_fields
from leads.operations.preview import WantedPreview
from leads.operations.problems import Invalid, Problem
from leads.operations.table import BY_FUNCTION, OPERATIONS
from leads.operations.wire import match, read_answer, read_request, write_answer, write_request
from leads.platform.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENT = describe(OPERATIONS, SHELL)
OFFER = {"id": "a.b", "destinations": [{"name": "table", "type": "azure_table"}]}

by_name = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


# --- The table ----------------------------------------------------------------------------------------------------------


def test_an_address_and_a_method_mean_one_operation_and_so_does_a_function() -> None:
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)
    assert len(BY_FUNCTION) == len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)


@by_name
def test_every_field_says_where_it_travels(operation: Operation[Any, Any]) -> None:
    places = {name: place for name, place, _ in located_fields(operation.request)}
    if not issubclass(operation.request, Body):
        assert places.keys() == operation.request.model_fields.keys()
    assert {name for name, place in places.items() if place is PATH} == {
        part[1:-1] for part in operation.path.split("/") if part.startswith("{")
    }
    assert list(places.values()).count(BODY) <= 1
    assert issubclass(operation.request, Request)
    assert operation.answer is None or issubclass(operation.answer, BaseModel)
    assert operation.summary.endswith(".")


@by_name
def test_a_function_gets_the_parts_that_it_names_in_that_order(operation: Operation[Any, Any]) -> None:
    *wanted, request = inspect.signature(operation.run).parameters
    hints = get_type_hints(operation.run)
    app = App(Settings.model_validate({"LeadsStorage": "UseDevelopmentStorage=true"}))
    parts = (*((SHELL,) if operation.for_caller else ()), *operation.parts(app))
    assert request == "request"
    assert len(parts) == len(wanted)
    for name, part in zip(wanted, parts, strict=True):
        assert isinstance(part, get_origin(hints[name]) or hints[name])


def test_the_function_app_takes_the_methods_of_the_table_and_no_other() -> None:
    """Read from the source: the host answers 404 for a method that is missing there."""
    tree = ast.parse((ROOT / "function_app.py").read_text())
    (methods,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MANAGING_METHODS"
    ]
    assert set(ast.literal_eval(methods)) == {operation.method for operation in OPERATIONS}


# --- There and back over HTTP -------------------------------------------------------------------------------------------


def there_and_back(operation: Operation[Any, Any], request: Request) -> Request:
    """The request that the app reads when the command line has sent it through the host."""
    sent = write_request(operation, request)
    path, _, query = sent.path.partition("?")
    # The host decodes a catch-all parameter, except for its slashes.
    decoded = "%2F".join(unquote(piece) for piece in path.removeprefix("/").split("%2F"))
    segments = match(operation.path, decoded)
    assert segments is not None
    headers = {name.lower(): value for name, value in sent.headers.items()}
    read: Request = read_request(
        operation, segments, dict(parse_qsl(query, keep_blank_values=True)), headers, sent.body
    )
    return read


# The host leaves an encoded slash as it is, so "%2F" in a name reads as a slash.
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: text not in {".", ".."} and "%2f" not in text.lower()
)
etags = st.none() | st.sampled_from(["*", "W/\"datetime'2026-01-31T14%3A00%3A00.1234567Z'\""])


@given(offer_id=names, if_match=etags, if_none_match=st.none() | st.just("*"))
def test_an_offer_of_any_name_comes_through(offer_id: str, if_match: str | None, if_none_match: Any) -> None:
    body = OfferBody.model_validate(OFFER | {"titles": [offer_id]})
    request = SetOffer(offer_id=offer_id, offer=body, if_match=if_match, if_none_match=if_none_match)
    assert there_and_back(BY_FUNCTION[set_offer], request) == request


@given(
    offer=st.none() | names,
    state=st.none() | st.sampled_from(State),
    since=st.none() | st.datetimes().map(str),
    limit=st.integers(1, 1000),
)
def test_any_filter_comes_through(offer: str | None, state: State | None, since: str | None, limit: int) -> None:
    wanted = {"offer": offer, "state": state, "since": since, "limit": limit}
    request = LeadFilter.model_validate({name: value for name, value in wanted.items() if value is not None})
    (operation,) = [operation for operation in OPERATIONS if operation.request is LeadFilter]
    assert there_and_back(operation, request) == request


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@given(lead=JSON)
def test_any_lead_to_be_previewed_comes_through(lead: Any) -> None:
    request = WantedPreview(lead=lead)
    (operation,) = [operation for operation in OPERATIONS if operation.request is WantedPreview]
    assert there_and_back(operation, request) == request


@given(connection_id=names, note=names)
def test_any_note_comes_through(connection_id: str, note: str) -> None:
    try:
        request = PauseConnection(connection_id=connection_id, note=Note(note=note))
    except ValidationError:
        assume(False)
    (operation,) = [operation for operation in OPERATIONS if operation.request is PauseConnection]
    assert there_and_back(operation, request) == request


@given(pattern=st.sampled_from([operation.path for operation in OPERATIONS]), path=st.text(max_size=30))
def test_any_path_is_another_one_or_gives_each_placeholder_a_text_that_can_be_stored(pattern: str, path: str) -> None:
    found = match(pattern, path)
    if found is not None:
        assert len(path.split("/")) == len(pattern.split("/")) - 1 or not path
        assert all(value.encode() is not None for value in found.values())


ODD = st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3)


@given(
    operation=st.sampled_from(OPERATIONS),
    segment=st.text(max_size=20),
    query=ODD
    | st.dictionaries(st.sampled_from(["limit", "since", "state", "CODE", "destination"]), st.text(max_size=9)),
    headers=ODD | st.dictionaries(st.sampled_from(["if-match", "if-none-match"]), st.text(max_size=9)),
    body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_anything_that_is_sent_is_a_request_or_refused_in_one_line(
    operation: Operation[Any, Any],
    segment: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
) -> None:
    segments = {part[1:-1]: segment for part in operation.path.split("/") if part.startswith("{")}
    try:
        request = read_request(operation, segments, query, headers, body)
    except Problem as refused:
        assert len(str(refused).splitlines()) == 1
    except ValidationError:
        pass
    else:
        assert isinstance(request, operation.request)


def test_an_answer_comes_through_with_its_headers() -> None:
    operation = BY_FUNCTION[show_offer]
    shown = ShownOffer(offer=read_offer(OFFER), etag='W/"x"')
    sent = write_answer(operation, shown)
    assert (sent.status, sent.headers) == (200, {"etag": 'W/"x"'})
    assert json.loads(sent.body)["id"] == "a.b", "the body is what PUT takes"
    assert read_answer(operation, sent.headers, sent.body) == shown
    assert read_answer(BY_FUNCTION[list_offers], {}, b'{"offers": []}').offers == []


def test_names_that_no_address_can_hold_are_refused_before_they_are_sent() -> None:
    for name in (".", ".."):
        with pytest.raises(Invalid, match=r"^offer_id: "):
            write_request(BY_FUNCTION[show_offer], ShowOffer(offer_id=name))


def test_an_error_names_the_header_or_the_field_of_the_body_as_the_caller_knows_it() -> None:
    operation, body = BY_FUNCTION[set_offer], json.dumps(OFFER).encode()
    with pytest.raises(ValidationError) as refused:
        read_request(operation, {"offer_id": "a.b"}, {}, {"if-none-match": 'W/"x"'}, body)
    assert refused.value.errors()[0]["loc"] == ("If-None-Match",)
    with pytest.raises(ValidationError) as refused:
        read_request(operation, {"offer_id": "a.b"}, {}, {}, b'{"title": 1}')
    assert [error["loc"] for error in refused.value.errors()] == [("destinations",), ("title",)]


def test_a_header_is_read_without_the_blanks_around_it() -> None:
    (remove,) = [operation for operation in OPERATIONS if operation.request is RemoveOffer]
    assert read_request(remove, {"offer_id": "a"}, {}, {"if-match": " x "}, b"") == RemoveOffer(
        offer_id="a", if_match="x"
    )


# --- OpenAPI ------------------------------------------------------------------------------------------------------------


@by_name
def test_the_document_has_every_operation_with_its_statuses(operation: Operation[Any, Any]) -> None:
    described = DOCUMENT["paths"][operation.path or "/"][operation.method.lower()]
    assert described["operationId"] == operation.name
    assert {int(status) for status in described["responses"]} == {*operation.statuses, *operation.problems, 401}
    places = {Location.PATH: "path", Location.QUERY: "query", Location.HEADER: "header"}
    assert {(each["name"], each["in"]) for each in described["parameters"]} == {
        (info.alias or name, places[place])
        for name, place, info in located_fields(operation.request)
        if place in places
    }
    assert ("requestBody" in described) == operation.takes_body


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(references(inner) for inner in value))
    return set()


def test_every_reference_in_the_document_leads_somewhere_and_every_schema_is_referred_to() -> None:
    named = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    mapped = DOCUMENT["components"]["schemas"]["DestinationConfig"]["discriminator"]["mapping"].values()
    assert references(DOCUMENT) | set(mapped) == named


def test_a_destination_is_described_by_its_type_with_the_types_own_settings() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["DestinationConfig"]["discriminator"]["mapping"].keys() == MODULES.keys()
    table = schemas["DestinationConfig_azure_table"]["properties"]
    assert table["type"] == {"const": "azure_table"}
    assert table["settings"] == {"$ref": "#/components/schemas/AzureTableSettings"}
    secret = schemas["AzureTableSettings"]["properties"]["connection_string"]["anyOf"][0]
    assert secret["format"] == "secret-reference"
    assert re.fullmatch(secret["pattern"], "keyvault:crm-secret")
    assert not re.fullmatch(secret["pattern"], "keyvault:crm_secret")


def test_only_the_key_of_manage_opens_it() -> None:
    (scheme,) = DOCUMENT["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "x-functions-key")
    assert DOCUMENT["security"] == [{"key": []}]
