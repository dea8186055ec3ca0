"""Operations over HTTP, in both directions: the command line writes what http.py reads, and reads what http.py writes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from pydantic import BaseModel, TypeAdapter

from leads.operations.operation import (
    BODY,
    HEADER,
    PATH,
    QUERY,
    Body,
    Nothing,
    Operation,
    RequestT,
    located_fields,
    whole_body,
)
from leads.operations.problems import Invalid, LengthRequired, TooLarge

MAX_BODY_BYTES: Final = 1024 * 1024
_KEY_PARAMETERS: Final = frozenset({"code", "clientid"})
"""Query parameters of the Functions host (Microsoft Learn, "Work with access keys in Azure Functions")."""
_DOTS: Final = frozenset({".", ".."})


@dataclass(frozen=True, slots=True)
class Sent:
    """A request or an answer on the wire. `path`: below the base, with the query. `status`: only of an answer."""

    path: str = ""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def match(pattern: str, path: str) -> dict[str, str] | None:
    """The values of the segments in braces, or None if the path does not match."""
    wanted, given = pattern.split("/")[1:], path.split("/") if path else []
    if len(wanted) != len(given):
        return None
    pairs = list(zip(wanted, given, strict=True))
    if any(name != value for name, value in pairs if not name.startswith("{")):
        return None
    return {name[1:-1]: _decoded(value) for name, value in pairs if name.startswith("{")}


def _decoded(segment: str) -> str:
    """A decoded segment. The host leaves %2F in a catch-all parameter. Storage refuses half of a surrogate pair."""
    return re.sub("%2f", "/", segment, flags=re.IGNORECASE).encode(errors="replace").decode()


def read_request(
    operation: Operation[RequestT, Any],
    segments: Mapping[str, str],
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
) -> RequestT:
    """The received request. Raises `Invalid`, pydantic's error, `LengthRequired` or `TooLarge`."""
    model = operation.request
    values: dict[str, Any] = dict(segments) | _without_key(query)
    has_body = _has_body(operation, headers, body)
    for name, place, info in located_fields(model):
        if place is HEADER and (value := headers.get((info.alias or name).lower())) is not None:
            values[info.alias or name] = value.strip()
        elif place is BODY and has_body:
            # Validated apart, so that an error names a field of the body.
            wanted: Any = info.annotation
            values[name] = TypeAdapter(wanted).validate_python(_object(body))
    if not issubclass(model, Body):
        return model.model_validate(values)
    found = model.model_validate(_object(body) if has_body else {})
    Nothing.model_validate(values)  # refuses fields of the body in the query
    return found


def _has_body(operation: Operation[Any, Any], headers: Mapping[str, str], body: bytes) -> bool:
    if operation.takes_body and not body and headers.get("transfer-encoding"):
        raise LengthRequired(
            "Content-Length: is missing (Transfer-Encoding: chunked), and the platform hands on no such body; send it with "
            "its length, as a whole and not as a stream"
        )
    return bool(body.strip()) or operation.needs_body


def _object(body: bytes) -> dict[str, Any]:
    decoded = read_json(body)
    if not isinstance(decoded, dict):
        raise Invalid("body: must be a JSON object")
    return decoded


def _without_key(query: Mapping[str, str]) -> dict[str, str]:
    """The query without the function key and without blank values."""
    named = {name.lower(): value for name, value in query.items()}
    return {name: value for name, value in named.items() if value and name not in _KEY_PARAMETERS}


def write_request(operation: Operation[RequestT, Any], request: RequestT) -> Sent:
    """The request to send. Raises `Invalid` for a value that an address can't hold."""
    path, query, headers, body = operation.path, {}, {}, b""
    wire = request.model_dump(mode="json")
    if isinstance(request, Body):
        body = json.dumps(wire, ensure_ascii=False).encode()
    for name, place, info in located_fields(type(request)):
        value = wire[name]
        if place is PATH:
            if value in _DOTS:
                raise Invalid(f"{name}: a name of dots alone has no address over HTTP; use the storage directly")
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        elif place is BODY:
            body = json.dumps(value, ensure_ascii=False).encode()
        elif place is QUERY and value not in {None, ""}:
            query[name] = value
        elif place is HEADER and value is not None:
            headers[info.alias or name] = value
    return Sent(path + (f"?{urlencode(query)}" if query else ""), headers=headers, body=body)


def write_answer(operation: Operation[Any, Any], answer: BaseModel | None) -> Sent:
    """The answer to send."""
    if answer is None:
        return Sent(status=operation.status)
    headers = {
        info.alias or name: str(getattr(answer, name))
        for name, place, info in located_fields(type(answer))
        if place is HEADER
    }
    body = whole_body(type(answer))
    what = getattr(answer, body) if body else answer
    return Sent(status=operation.status_of(answer), headers=headers, body=TypeAdapter(Any).dump_json(what))


def read_answer(operation: Operation[Any, Any], headers: Mapping[str, str], body: bytes) -> Any:
    """The received answer. Raises pydantic's error for an answer of another kind."""
    model = operation.answer
    if model is None:
        return None
    name = whole_body(model)
    if name is None:
        return model.model_validate_json(body)
    values: dict[str, Any] = {name: TypeAdapter(Any).validate_json(body)}
    for header, place, info in located_fields(model):
        if place is HEADER:
            values[info.alias or header] = headers.get((info.alias or header).lower(), "")
    return model.model_validate(values)


def read_json(body: bytes, name: str = "body") -> object:
    """Decode JSON that a person wrote. Raises `Invalid`, which names the place of the error and repeats no content.

    `name`: what the text calls it: the body of a request, or FILE at the command line.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"{name}: has more than {MAX_BODY_BYTES} bytes")
    try:
        return json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Invalid(f"{name}: is not UTF-8; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"{name}: is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except (RecursionError, ValueError):
        raise Invalid(f"{name}: is nested too deeply or holds a number that is too long") from None
