"""Validation: whether a destination's connection is usable, and if not, what to change."""

import time
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import BaseModel, Field

from leads import destinations
from leads.app import App
from leads.destinations.answers import last_answer, listen
from leads.destinations.base import Context, Destination
from leads.destinations.bounded_calls import CHECK_SECONDS, check_connection
from leads.offers.model import DestinationConfig
from leads.operations.offers import OfferId, stored_offer
from leads.operations.operation import BODY, QUERY, Request
from leads.operations.problems import NotFound
from leads.platform.secrets import Secrets
from leads.platform.settings import SettingsError
from leads.platform.storage import StorageError
from leads.platform.threads import map_in_order

VALIDATION_SECONDS: Final = CHECK_SECONDS + 10
"""All destinations of an offer are checked at once."""


class Validated(BaseModel):
    """What a destination's `check()` has found. `transient`: it is only out of reach for now.

    A `problem` where it is `ok` says what leads are stored without, or what could not be looked at. `refusal` is what the last
    delivery over its connection was refused with, "" if it came through: a check that passes does not show that leads are taken.
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
    """An excerpt of what the vendor refused the check with: for the shell of who checks, never over HTTP."""
    milliseconds: int


class Validation(BaseModel):
    """Whether every destination is usable, and each one's answer."""

    ok: bool
    destinations: list[Validated]


class ValidateOffer(Request):
    """Which offer, and which of its destinations."""

    offer_id: OfferId
    destination: Annotated[str, QUERY] = Field(default="", description="Only the destination of this name.")


class ValidateDestination(Request):
    """A destination that need not be saved."""

    destination: Annotated[DestinationConfig, BODY]


def validate_offer(app: App, request: ValidateOffer) -> Validation:
    """Check the destinations of a stored offer: sign in, look, write no lead."""
    stored = stored_offer(app, request.offer_id)
    chosen = [config for config in stored.offer.destinations if request.destination in {"", config.name}]
    if not chosen:
        raise NotFound("destination: the offer has none of that name; show the offer to see the names there are")
    return _validate(app, chosen)


def validate_destination(app: App, request: ValidateDestination) -> Validation:
    """Check a destination that need not be saved: sign in, look, write no lead."""
    return _validate(app, [request.destination])


def isolated_destination(app: App, config: DestinationConfig, secrets: Secrets | None = None) -> Destination:
    """The destination of a configuration, sharing nothing with those that deliver: no token or connection, nor the secrets
    that are read already unless they are given."""
    context = Context(app.settings, secrets or Secrets(app.settings), app.storage)
    return destinations.make(config.type, config.settings, context, config.mapping, config.follow_up)


def _validate(app: App, configs: Sequence[DestinationConfig]) -> Validation:
    checks = map_in_order(lambda config: _check(app, config), configs, at_most=len(configs), seconds=VALIDATION_SECONDS)
    found = list(checks)
    return Validation(ok=all(each.ok for each in found), destinations=found)


def _check(app: App, config: DestinationConfig) -> Validated:
    destination = isolated_destination(app, config)
    heard = listen(destination)
    started = time.monotonic()
    result = check_connection(destination)
    took = time.monotonic() - started
    return Validated(
        destination=config.name,
        type=config.type,
        connection=destination.connection,
        ok=result.ok,
        problem=result.problem,
        code=result.code,
        transient=result.transient,
        refusal=_refusal(app, destination.connection),
        answer="" if result.ok else last_answer(heard, destination),
        milliseconds=round(took * 1000),
    )


def _refusal(app: App, connection: str) -> str:
    try:
        return app.connections.get(connection).last_refusal
    except (StorageError, SettingsError):
        return ""  # what is not saved can be checked without the app's storage, too
