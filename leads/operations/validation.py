"""Validation: checks whether a destination's connection is usable and, if not, says what to change."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Final

from pydantic import BaseModel, Field

from leads import destinations
from leads.destinations.answers import last_answer, record_answers
from leads.destinations.base import CheckResult, Context, Destination
from leads.destinations.bounded_calls import CHECK_SECONDS, check_connection
from leads.offers.model import DestinationConfig
from leads.offers.table import Offers
from leads.operations.offers import OfferId, stored_offer
from leads.operations.operation import BODY, QUERY, Request
from leads.operations.problems import NotFound
from leads.platform.secrets import Secrets
from leads.platform.threads import map_in_order

VALIDATION_SECONDS: Final = CHECK_SECONDS + 10
"""The limit for all destinations of an offer, which are checked at once."""

LastRefusal = Callable[[str], str]
"""Gives, for a connection's id, the refusal of its last delivery; "" if the delivery succeeded or is not known."""


class Validated(BaseModel):
    """The result of a destination's `check()`. `transient`: the destination is only out of reach for now.

    `problem` with `ok`: what the app leaves out of leads, or what it could not check. `refusal`: why the vendor refused the
    last delivery over the connection, "" if it did not. A check that passes does not prove that the vendor takes leads.
    """

    destination: str
    type: str
    connection: str
    ok: bool
    problem: str
    code: str
    transient: bool
    refusal: str = ""
    answer: str = Field(default="", exclude=True)
    """An excerpt of the vendor's refusal of the check, for the shell only and never over HTTP."""
    milliseconds: int


class Validation(BaseModel):
    """Whether all destinations are usable, and the result of each."""

    ok: bool
    destinations: list[Validated]


class ValidateOffer(Request):
    """An offer, and optionally one of its destinations."""

    offer_id: OfferId
    destination: Annotated[str, QUERY] = Field(default="", description="Only the destination of this name.")


class ValidateDestination(Request):
    """A destination, saved or not."""

    destination: Annotated[DestinationConfig, BODY]


def validate_offer(offers: Offers, context: Context, last_refusal: LastRefusal, request: ValidateOffer) -> Validation:
    """Check the destinations of a stored offer: sign in, look, write no lead."""
    stored = stored_offer(offers, request.offer_id)
    chosen = [config for config in stored.offer.destinations if request.destination in {"", config.name}]
    if not chosen:
        raise NotFound("destination: the offer has no destination of that name; show the offer to see its destinations")
    return _validate(context, last_refusal, chosen)


def validate_destination(context: Context, last_refusal: LastRefusal, request: ValidateDestination) -> Validation:
    """Check a destination, saved or not: sign in, look, write no lead."""
    return _validate(context, last_refusal, [request.destination])


def isolated_destination(context: Context, config: DestinationConfig, secrets: Secrets | None = None) -> Destination:
    """A destination that shares no token and no connection with deliveries. `secrets`: default = read them again."""
    isolated = Context(context.settings, secrets or Secrets(context.settings), context.storage)
    return destinations.make(config.type, config.settings, isolated, config.mapping, config.follow_up)


def check(destination: Destination) -> tuple[CheckResult, str]:
    """The result of a check of an isolated destination, and an excerpt of the vendor's refusal."""
    recorded = record_answers(destination)
    result = check_connection(destination)
    return result, "" if result.ok else last_answer(recorded, destination)


def _validate(context: Context, last_refusal: LastRefusal, configs: Sequence[DestinationConfig]) -> Validation:
    def look(config: DestinationConfig) -> Validated:
        return _validated(context, last_refusal, config)

    found = list(map_in_order(look, configs, at_most=len(configs), seconds=VALIDATION_SECONDS))
    return Validation(ok=all(each.ok for each in found), destinations=found)


def _validated(context: Context, last_refusal: LastRefusal, config: DestinationConfig) -> Validated:
    destination = isolated_destination(context, config)
    started = time.monotonic()
    result, answer = check(destination)
    took = time.monotonic() - started
    return Validated(
        destination=config.name,
        type=config.type,
        connection=destination.connection,
        ok=result.ok,
        problem=result.problem,
        code=result.code,
        transient=result.transient,
        refusal=last_refusal(destination.connection),
        answer=answer,
        milliseconds=round(took * 1000),
    )
