"""Finds the offer of a lead: by the address that received it, else by the lead's own fields. Pure: no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Protocol, TypeVar

from leads.core.lead import Lead

DEFAULT_OFFER: Final = "*"


class Named(Protocol):
    """An offer's id and titles, by which leads name it."""

    @property
    def id(self) -> str: ...
    @property
    def titles(self) -> Sequence[str]: ...


AnOffer = TypeVar("AnOffer", bound=Named)


@dataclass(frozen=True, slots=True)
class OfferReferences:
    """The fields of a lead that can name its offer. They are not personal data."""

    url: str = ""
    lead_source: str = ""
    product_id: str = ""
    title: str = ""

    @classmethod
    def of(cls, lead: Lead, url_offer: str) -> "OfferReferences":
        return cls(url_offer, lead.offer_part, lead.product_id, lead.offer_title)

    @property
    def names(self) -> list[str]:
        """The names, folded, in the order of their priority.

        If the address names an offer, the other names do not count: the lead must not go to another offer with the same title.
        """
        asked = (self.url,) if self.url.strip() else (self.lead_source, self.product_id, self.title)
        return [name for name in map(_folded, asked) if name]

    def unknown(self, offers: Sequence[Named]) -> list[str]:
        """The names, folded, before the first name that means one of these offers. A title is given as ""."""
        by_name = _names(offers)
        unknown = list(takewhile(lambda name: name not in by_name, self.names))
        title = "" if self.url.strip() else _folded(self.title)
        return [name if name != title else "" for name in unknown]


def route(references: OfferReferences, offers: Sequence[AnOffer]) -> AnOffer | None:
    """The offer of a lead's first name that names an offer; else the default offer; else None."""
    by_name = _names(offers)
    named = next((by_name[name] for name in references.names if name in by_name), None)
    return named or next((offer for offer in offers if offer.id == DEFAULT_OFFER), None)


def sharing(references: OfferReferences, offers: Sequence[Named]) -> list[str]:
    """The ids of the offers that share a name of this lead, which no offer takes. A shared name means none of them."""
    names = set(references.names)
    return [
        offer.id for offer in offers if not names.isdisjoint(map(_folded, (offer.id.partition(".")[2], *offer.titles)))
    ]


def _names(offers: Sequence[AnOffer]) -> Mapping[str, AnOffer]:
    """Every name that means exactly one offer. Ids win over second parts of ids, and these over titles."""
    names: dict[str, AnOffer] = {_folded(offer.id): offer for offer in offers}
    for aliases in (
        [(_folded(o.id.partition(".")[2]), o) for o in offers],
        [(_folded(t), o) for o in offers for t in o.titles],
    ):
        found: dict[str, set[str]] = {}
        for alias, offer in aliases:
            found.setdefault(alias, set()).add(offer.id)
        for alias, offer in aliases:
            if alias and len(found[alias]) == 1:
                names.setdefault(alias, offer)
    return names


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
