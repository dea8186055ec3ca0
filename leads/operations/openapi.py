"""The OpenAPI 3.1 document of the operations, made from their models."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from leads import destinations
from leads.operations.access import AccessLevel, Caller
from leads.operations.operation import Body, Location, Operation, located_fields, whole_body
from leads.operations.problems import PROBLEMS
from leads.operations.sign_in import REQUESTED_WITH

KEY_HEADER: Final = "x-functions-key"
_PREFIX: Final = "#/components/schemas/"
_LOCATIONS: Final = {Location.PATH: "path", Location.QUERY: "query", Location.HEADER: "header"}
_WORDS: Final = {200: "Done", 201: "Created", 202: "Accepted", 204: "Removed"} | {
    problem.status: problem.title for problem in PROBLEMS
}

Schema = dict[str, Any]
Model = type[BaseModel]


class ProblemDetails(BaseModel):
    """Why a request failed (RFC 9457). `field`: the wrong field. `level`: the level that the operation needs."""

    type: str
    title: str
    status: int
    detail: str
    field: str = Field("", description="The field of the request that is wrong.")
    level: AccessLevel | None = Field(None, description="The level that the operation needs.")


def describe(operations: Sequence[Operation[Any, Any]], caller: Caller) -> Schema:
    """The document for a caller: it names the beginning of the caller's addresses, and the caller's kind of sign-in."""
    schemas = _Schemas(operations)
    paths: dict[str, Schema] = {}
    for operation in operations:
        paths.setdefault(operation.path or "/", {})[operation.method.lower()] = _described(operation, schemas)
    security = _SIGN_IN if caller.by == "entra" else {"key": _key(caller)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Marketplace leads: management",
            "version": "1",
            "description": "Offers, leads, connections and status. No answer holds a secret. Only the operations that say so "
            "answer a customer's data, at the level personal, and only if the app setting LEADS_PERSONAL_DATA_OVER_HTTP is "
            "true. Each operation names the level that it needs; below this level the answer is 403. "
            f"Levels: {'; '.join(f'{level} = {level.in_words}' for level in AccessLevel)}.",
        },
        "servers": [{"url": caller.base}],
        "security": [{name: [] for name in security}],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": security},
    }


def _key(caller: Caller) -> Schema:
    description = f"The key of the function `{caller.function}`."
    return {"type": "apiKey", "in": "header", "name": KEY_HEADER, "description": description}


_SIGN_IN: Final[Schema] = {
    "signIn": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token of Entra ID, or the session of a browser that has signed in. All but GET needs the "
        f"header X-Requested-With: {REQUESTED_WITH} as well.",
    }
}


def _described(operation: Operation[Any, Any], schemas: "_Schemas") -> Schema:
    asked = schemas.of(operation.request)
    fields = list(located_fields(operation.request))
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Needs the level {operation.level}.",
        "parameters": [
            {
                "name": info.alias or name,
                "in": _LOCATIONS[place],
                "required": info.is_required(),
                "description": info.description or "",
                "schema": _without_null(asked["properties"][info.alias or name]),
            }
            for name, place, info in fields
            if place in _LOCATIONS
        ],
        "responses": {str(status): _answer(operation, status, schemas) for status in operation.statuses}
        | {"401": {"description": "The key is missing, or it belongs to another function; or no user is signed in"}}
        | {str(status): _PROBLEM | {"description": _WORDS[status]} for status in sorted(operation.problems)},
    }
    if operation.takes_body:
        field = whole_body(operation.request)
        schema = asked["properties"][field] if field else {"$ref": _PREFIX + schemas.name(operation.request)}
        content = {"application/json": {"schema": _without_default(schema)}}
        described["requestBody"] = {"required": operation.needs_body, "content": content}
    return described


def _answer(operation: Operation[Any, Any], status: int, schemas: "_Schemas") -> Schema:
    described: Schema = {"description": _WORDS[status]}
    if (model := operation.answer) is None:
        return described
    answered, body = schemas.of(model), whole_body(model)
    schema = answered["properties"][body] if body else {"$ref": _PREFIX + schemas.name(model)}
    headers = {
        name: {"required": True, "schema": answered["properties"][name]}
        for name, place, _ in located_fields(model)
        if place is Location.HEADER
    }
    return described | {"content": {"application/json": {"schema": schema}}} | ({"headers": headers} if headers else {})


_PROBLEM: Final = {"content": {"application/problem+json": {"schema": {"$ref": f"{_PREFIX}{ProblemDetails.__name__}"}}}}


class _Schemas:
    """The JSON Schemas of the operations' models, and of the models in them."""

    def __init__(self, operations: Sequence[Operation[Any, Any]]) -> None:
        modes: dict[Model, JsonSchemaMode] = {ProblemDetails: "serialization"}
        for operation in operations:
            modes[operation.request] = "validation"
            if operation.answer:
                modes[operation.answer] = "serialization"
        found, definitions = models_json_schema(list(modes.items()), ref_template=f"{_PREFIX}{{model}}")
        self._names: dict[Any, str] = {
            model: schema["$ref"].removeprefix(_PREFIX) for (model, _), schema in found.items()
        }
        self._all: dict[str, Schema] = definitions["$defs"]
        # A model that only locates fields is never a body.
        located = {
            self._names[model]
            for model in modes
            if whole_body(model) or (modes[model] == "validation" and not issubclass(model, Body))
        }
        self.components = {name: schema for name, schema in self._all.items() if name not in located}
        self.components |= _by_type(self.components.pop("DestinationConfig"))

    def name(self, model: Model) -> str:
        return self._names[model]

    def of(self, model: Model) -> Schema:
        return self._all[self._names[model]] | {"properties": self._all[self._names[model]].get("properties", {})}


def _by_type(any_type: Schema) -> Mapping[str, Schema]:
    """A destination's schema: one variant for each type, with the settings of the type."""
    schemas: dict[str, Schema] = {}
    mapping: dict[str, str] = {}
    for type_name in sorted(destinations.MODULES):
        settings = destinations.destination_class(type_name).Settings
        schema = settings.model_json_schema(ref_template=f"{_PREFIX}{{model}}")
        schemas |= schema.pop("$defs", {}) | {settings.__name__: schema}
        own = {"type": {"const": type_name}, "settings": {"$ref": _PREFIX + settings.__name__}}
        variant = f"DestinationConfig_{type_name}"
        schemas[variant] = any_type | {"title": variant, "properties": any_type["properties"] | own}
        mapping[type_name] = _PREFIX + variant
    one_of = [{"$ref": reference} for reference in mapping.values()]
    discriminator = {"propertyName": "type", "mapping": mapping}
    described = {"description": any_type["description"], "oneOf": one_of, "discriminator": discriminator}
    return schemas | {"DestinationConfig": described}


def _without_null(schema: Schema) -> Schema:
    """A parameter's schema without null: a parameter is left out instead."""
    kept = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default", "title", "description"}}
    return rest | (kept[0] if len(kept) == 1 else {"anyOf": kept} if kept else {})


def _without_default(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name != "default"}
