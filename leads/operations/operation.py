"""What an operation is: a function with an address, and where the fields of its request and of its answer travel."""

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
"""For what asks vendors or writes many leads; the command line waits for 150 seconds."""


class Location(Enum):
    """Where a field travels, as its annotation says: `offer_id: Annotated[str, PATH]`."""

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
"""The whole body. An answer without such a field is the body itself; its header fields are in both."""


ALL_SAID: Final = ConfigDict(json_schema_serialization_defaults_required=True)
"""For an answer that holds dataclasses: a field with a default is in each answer, too."""


class Request(BaseModel):
    """Base of what operations are asked."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, validate_by_name=True, validate_by_alias=True)


class Body(Request):
    """Base of what is a body as a whole: a request, or the field `BODY` of one."""


class Nothing(Request):
    """Asks for all there is."""


RequestT = TypeVar("RequestT", bound=Request)
AnswerT = TypeVar("AnswerT", bound=BaseModel | None)
Parts = TypeVarTuple("Parts")
"""What an operation's function takes before its request."""


def _no_parts(_: App) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Operation(Generic[RequestT, AnswerT]):
    """`run` with its address below /api/manage and the other bases. Its name, summary and models are the function's own.

    `parts` hands over the parts of the app that `run` takes before the request.
    `created` says of an answer that something new was made. `also` are statuses of problems beside those that follow from the
    request's fields. `examines` says that it looks for what is wrong with the deployment: it gets an app of its own, made from
    those settings that are right. `level` is the one that whoever asks needs. `personal`: it answers personal data, which goes
    out over HTTP only where a setting allows it.
    `changes`: something stored is not the same afterwards.
    `for_caller`: `run` takes who asks before everything else. `seconds` is its deadline over HTTP.
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
        """Run it with the app's parts, for whoever asks."""
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
        """The model of the answer; None = there is nothing to say."""
        found = self._hints["return"]
        return None if found is type(None) else found

    @property
    def takes_body(self) -> bool:
        return issubclass(self.request, Body) or whole_body(self.request) is not None

    @cached_property
    def needs_body(self) -> bool:
        """Whether a request without a body is wrong."""
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
        """Every status of an answer that is no problem."""
        return (self.status, 201) if self.created else (self.status,)

    def status_of(self, answer: BaseModel | None) -> int:
        return 201 if self.created and self.created(answer) else self.status

    @property
    def problems(self) -> frozenset[int]:
        """Every status of a problem that the app answers; the host adds 401 for a wrong key."""
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
