"""Operations: a function with an address, and the places of the fields of its request and answer."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property
from typing import Any, Final, Generic, TypeVar, TypeVarTuple, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from leads.app import App
from leads.operations.access import SHELL, AccessLevel, Caller
from leads.operations.problems import Changed, Forbidden, Invalid, LengthRequired, NotFound, TooLarge, Unavailable

USUAL_SECONDS: Final = 30.0
LONG_SECONDS: Final = 130.0
"""For operations that call vendors or write many leads. The command line waits 150 seconds."""


class Location(Enum):
    """The place of a field in a request or answer. An annotation names it: `offer_id: Annotated[str, PATH]`."""

    PATH = auto()
    QUERY = auto()
    HEADER = auto()
    BODY = auto()


PATH: Final = Location.PATH
"""A segment of the address."""
QUERY: Final = Location.QUERY
"""A parameter of the query."""
HEADER: Final = Location.HEADER
"""A header, named by the field's alias."""
BODY: Final = Location.BODY
"""The whole body. Without such a field, the answer is the body, which repeats its header fields."""


ALL_SAID: Final = ConfigDict(json_schema_serialization_defaults_required=True)
"""For an answer with dataclasses: each answer has the fields with defaults, too."""


class Request(BaseModel):
    """Base of the requests of operations."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, validate_by_name=True, validate_by_alias=True)


class Body(Request):
    """Base of a whole body: a request, or the field `BODY` of a request."""


class Nothing(Request):
    """A request without fields."""


RequestT = TypeVar("RequestT", bound=Request)
AnswerT = TypeVar("AnswerT", bound=BaseModel | None)
Parts = TypeVarTuple("Parts")
"""The parts of the app that an operation's function takes before its request."""


def _no_parts(_: App) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Operation(Generic[RequestT, AnswerT]):
    """A function with its address below a base such as /api/manage. The function gives name, summary and models.

    `parts`: gives the parts of the app that `run` takes before the request. `created`: whether an answer reports a new thing.
    `also`: statuses of problems, besides those that follow from the request's fields. `examines`: the operation checks the
    deployment, and gets an app made of the valid settings. `level`: the level that the caller needs. `personal`: the answer
    holds personal data, which HTTP needs a setting for. `changes`: the operation changes stored data. `for_caller`: `run`
    takes the caller first. `seconds`: the deadline over HTTP.
    """

    method: str
    path: str
    run: Callable[..., AnswerT]
    parts: Callable[[App], tuple[Any, ...]] = _no_parts
    status: int = 200
    created: Callable[[Any], bool] | None = None
    also: frozenset[int] = field(default=frozenset())
    examines: bool = False
    level: AccessLevel = AccessLevel.OPERATE
    personal: bool = False
    changes: bool = False
    for_caller: bool = False
    seconds: float = USUAL_SECONDS

    def carry_out(self, app: App, request: RequestT, caller: Caller = SHELL) -> AnswerT:
        """Run the function with the app's parts, for a caller."""
        asking = (caller,) if self.for_caller else ()
        return self.run(*asking, *self.parts(app), request)

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    @property
    def request(self) -> type[RequestT]:
        found: type[RequestT] = self._hints["request"]
        return found

    @property
    def answer(self) -> type[BaseModel] | None:
        """The model of the answer; None = the answer is empty."""
        found = self._hints["return"]
        return None if found is type(None) else found

    @property
    def takes_body(self) -> bool:
        return issubclass(self.request, Body) or whole_body(self.request) is not None

    @cached_property
    def needs_body(self) -> bool:
        """Whether the request must have a body."""
        if (name := whole_body(self.request)) is not None:
            return self.request.model_fields[name].is_required()
        try:
            self.request.model_validate({})
        except ValidationError:
            return self.takes_body
        return False

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.run)

    @property
    def statuses(self) -> tuple[int, ...]:
        """The statuses of successful answers."""
        return (self.status, 201) if self.created else (self.status,)

    def status_of(self, answer: BaseModel | None) -> int:
        return 201 if self.created and self.created(answer) else self.status

    @property
    def problems(self) -> frozenset[int]:
        """The statuses of problems that the app answers. The host adds 401 for a wrong key."""
        places = {place for _, place, _ in located_fields(self.request)}
        found = {Invalid.status, Unavailable.status, *self.also}
        found |= {Forbidden.status} if self.personal or self.level is not AccessLevel.REPORT else set()
        found |= {NotFound.status} if PATH in places else set()
        found |= {Changed.status} if HEADER in places else set()
        return frozenset(found | ({LengthRequired.status, TooLarge.status} if self.takes_body else set()))


def located_fields(model: type[BaseModel]) -> Iterator[tuple[str, Location, FieldInfo]]:
    """The model's fields with a declared place: name, place and field. The fields of a `Body` are in the body."""
    if issubclass(model, Body):
        return
    for name, info in model.model_fields.items():
        for place in info.metadata:
            if isinstance(place, Location):
                yield name, place, info


def whole_body(model: type[BaseModel]) -> str | None:
    """The name of the field that is the whole body, if there is one."""
    return next((name for name, place, _ in located_fields(model) if place is BODY), None)
