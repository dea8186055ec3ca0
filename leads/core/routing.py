"""Which offer a lead belongs to: by the address that it was sent to, else by what it says of itself. Pure: no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Protocol, TypeVar

from leads.core.lead import Lead

DEFAULT_OFFER: Final = "*"


class Named(Protocol):
    """What of an offer can be named by a lead."""

    @property
    def id(self) -> str: ...
    @property
    def titles(self) -> Sequence[str]: ...


AnOffer = TypeVar("AnOffer", bound=Named)


@dataclass(frozen=True, slots=True)
class OfferReferences:
    """What of a lead can name its offer. None of it is personal data."""

    url: str = ""
    lead_source: str = ""
    product_id: str = ""
    title: str = ""

    @classmethod
    def of(cls, lead: Lead, url_offer: str) -> "OfferReferences":
        return cls(url_offer, lead.offer_part, lead.product_id, lead.offer_title)

    @property
    def names(self) -> list[str]:
        """The names, folded, in the order in which they are asked.

        The address alone counts where it names one: its lead must not go to an offer that it happens to share a title with.
        """
        asked = (self.url,) if self.url.strip() else (self.lead_source, self.product_id, self.title)
        return [name for name in map(_folded, asked) if name]

    def unknown(self, offers: Sequence[Named]) -> list[str]:
        """The names that would decide before any that means one of these offers, folded; "" stands for all titles."""
        by_name = _names(offers)
        unknown = list(takewhile(lambda name: name not in by_name, self.names))
        title = "" if self.url.strip() else _folded(self.title)
        return [name if name != title else "" for name in unknown]


def route(references: OfferReferences, offers: Sequence[AnOffer]) -> AnOffer | None:
    """The offer that a lead's first matching name means, else the default one, else None."""
    by_name = _names(offers)
    named = next((by_name[name] for name in references.names if name in by_name), None)
    return named or next((offer for offer in offers if offer.id == DEFAULT_OFFER), None)


def _names(offers: Sequence[AnOffer]) -> Mapping[str, AnOffer]:
    """Every name that means exactly one offer: ids before their second parts, those before titles."""
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
