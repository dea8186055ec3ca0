"""Offers: list, show, set, remove."""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field, JsonValue

from leads.offers.model import InvalidOffer, Offer, read_offer
from leads.offers.table import OfferChanged, Offers, StoredOffer
from leads.operations.operation import BODY, HEADER, PATH, Nothing, Request
from leads.operations.problems import Changed, NotFound

MAX_OFFER_CHARACTERS: Final = 200_000
"""An entity holds 1 MiB, and a character takes up to four bytes."""

OfferId = Annotated[
    str, PATH, Field(min_length=1, max_length=500, description="The offer's id: publisher.offer, or *.")
]
IfMatch = Annotated[
    str | None, HEADER, Field(alias="If-Match", description="Only if the stored offer has this ETag (* = any).")
]


class OfferList(BaseModel):
    """All offers, by id."""

    offers: list[StoredOffer]


class ShowOffer(Request):
    """Which offer."""

    offer_id: OfferId


class ShownOffer(BaseModel):
    """An offer, and the ETag to send with a change."""

    offer: Annotated[Offer, BODY]
    etag: Annotated[str, HEADER]


class OfferBody(Offer):
    """An offer, whose body may leave the id to the address."""

    id: str = Field("", max_length=500, description="The id in the address, or nothing.")


class SetOffer(Request):
    """An offer to save, and the version that the caller has seen."""

    offer_id: OfferId
    offer: Annotated[OfferBody, BODY]
    if_match: IfMatch = None
    if_none_match: Annotated[
        Literal["*"] | None, HEADER, Field(alias="If-None-Match", description="Only if there is no such offer yet.")
    ] = None


class Change(BaseModel):
    """A changed field of an offer; None = the field is missing."""

    field: str
    before: JsonValue
    after: JsonValue


class SavedOffer(BaseModel):
    """The result of a save. `changes`: empty for a created or unchanged offer."""

    id: str
    result: Literal["created", "changed", "unchanged"]
    changes: list[Change]
    etag: Annotated[str, HEADER]


class RemoveOffer(Request):
    """An offer to remove, and the version that the caller has seen."""

    offer_id: OfferId
    if_match: IfMatch = None


def list_offers(offers: Offers, request: Nothing) -> OfferList:
    """List the offers, each with its ETag."""
    return OfferList(offers=list(offers.stored()))


def show_offer(offers: Offers, request: ShowOffer) -> ShownOffer:
    """Show an offer as `PUT` takes it; the header ETag says which version."""
    stored = stored_offer(offers, request.offer_id)
    return ShownOffer(offer=stored.offer, etag=stored.etag)


def set_offer(offers: Offers, request: SetOffer) -> SavedOffer:
    """Create or replace an offer, with `If-Match` and `If-None-Match: *`. Every instance uses it within a minute."""
    offer = _named(request.offer_id, request.offer)
    stored = offers.get(offer.id)
    _check_version(stored, request.if_match, must_be_new=request.if_none_match is not None)
    if stored and stored.offer == offer:
        return SavedOffer(id=offer.id, result="unchanged", changes=[], etag=stored.etag)
    try:
        saved = offers.save(offer, _expected(stored, request))
    except OfferChanged:
        raise Changed(_CHANGED if stored else _EXISTS) from None
    if stored is None:
        return SavedOffer(id=offer.id, result="created", changes=[], etag=saved)
    return SavedOffer(id=offer.id, result="changed", changes=changes(stored.offer, offer), etag=saved)


def remove_offer(offers: Offers, request: RemoveOffer) -> None:
    """Remove an offer, with `If-Match`. Its undelivered leads become unrouted."""
    if request.if_match is not None:
        _check_version(offers.get(request.offer_id), request.if_match)
    try:
        removed = offers.remove(request.offer_id, None if request.if_match == "*" else request.if_match)
    except OfferChanged:
        raise Changed(_CHANGED) from None
    if not removed:
        raise NotFound(no_offer(request.offer_id))


def check_offer(data: object) -> Offer:
    """The offer that `data`, decoded JSON, describes. Raises `InvalidOffer`: one line with the field and the fix."""
    if not isinstance(data, dict):
        raise InvalidOffer('offer: must be an object, such as {"id": "publisher.offer", "destinations": [...]}')
    offer = read_offer(data)
    if len(offer.model_dump_json()) > MAX_OFFER_CHARACTERS:
        raise InvalidOffer(f"offer: is longer than {MAX_OFFER_CHARACTERS} characters of JSON: shorten its lists")
    return offer


def changes(before: Offer, after: Offer) -> list[Change]:
    """The fields in which two versions of an offer differ, by name."""
    old, new = (dict(_leaves(offer.model_dump(mode="json"))) for offer in (before, after))
    return [
        Change(field=field, before=old.get(field), after=new.get(field))
        for field in sorted(old.keys() | new.keys())
        if _differ(old.get(field, _MISSING), new.get(field, _MISSING))
    ]


def _differ(before: object, after: object) -> bool:
    """Whether two values differ. A missing value equals an empty one, because a new destination has many empty values."""
    if before is _MISSING or after is _MISSING:
        return any(value not in (_MISSING, None, []) for value in (before, after))
    return before != after


def stored_offer(offers: Offers, offer_id: str) -> StoredOffer:
    """The offer of this id. Raises `NotFound`."""
    stored = offers.get(offer_id)
    if stored is None:
        raise NotFound(no_offer(offer_id))
    return stored


def no_offer(offer_id: str) -> str:
    """The text for an unknown offer."""
    return f"offer: no offer has the id {quote(offer_id, safe=' *|:@')}; list the offers to see their ids"


_MISSING: Final = object()
_CHANGED: Final = "If-Match: the stored offer is another version; read it again"
_EXISTS: Final = "If-None-Match: there is an offer of this id already"


def _named(offer_id: str, body: OfferBody) -> Offer:
    if body.id and body.id.casefold() != offer_id.strip().casefold():
        raise InvalidOffer("id: differs from the id in the address; leave it out of the body, or correct one of them")
    return check_offer(body.model_dump() | {"id": body.id or offer_id})


def _check_version(stored: StoredOffer | None, if_match: str | None, *, must_be_new: bool = False) -> None:
    """Raises `Changed`. Storage does not compare these ETags: it answers 400 to an ETag that it could not have made."""
    if must_be_new and stored:
        raise Changed(_EXISTS)
    if if_match is not None and not (stored and if_match in {"*", stored.etag}):
        raise Changed(_CHANGED)


def _expected(stored: StoredOffer | None, request: SetOffer) -> str | None:
    """The ETag that the save must meet, so that a save by others in between is noticed. None = any; "" = no offer yet."""
    if request.if_match is None and request.if_none_match is None:
        return None
    return stored.etag if stored else ""


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Each field with its dotted name. A destination's name takes the place of its number, so a new one moves no other."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = {item["name"]: {key: item[key] for key in item if key != "name"} for item in value}
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else key)
    else:
        yield place, value
