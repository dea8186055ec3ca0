"""The table of offers. Each instance caches it for at most a minute."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from leads.core import clock
from leads.core.problems import first_problem
from leads.core.routing import DEFAULT_OFFER, OfferReferences, route
from leads.offers.model import InvalidOffer, Offer
from leads.platform.cached_value import CachedValue, fresh_for
from leads.platform.events import Event, emit
from leads.platform.storage import Conflict, StorageBusy, Table, if_unchanged, replacing, storing
from leads.platform.table_format import joined_text, key_part, text_columns

OFFERS_TABLE: Final = "LeadOffers"
CACHE_SECONDS: Final = 60
LOOKED_UP_AGAIN: Final = timedelta(seconds=5)
"""The shortest time between two look-ups of a name that no offer has. All titles together count as one name."""
_LOOKED_UP_KEPT: Final = 1000
_PARTITION: Final = "offer"


class UnreadableOffer(InvalidOffer):
    """This release can't read a stored offer. `row` is its key."""

    def __init__(self, row: str, why: str) -> None:
        super().__init__(
            f"stored offer: {row} can't be read by this release ({why}), so its leads, and those of the offer *, wait as "
            "unrouted; remove the offer and save it again"
        )
        self.row = row


class OfferChanged(Exception):
    """Someone else saved the offer since it was read."""


@dataclass(frozen=True, slots=True)
class StoredOffer:
    """A stored offer. `etag` changes with every change of the offer."""

    offer: Offer
    etag: str
    changed_at: datetime


class Offers:
    """The offers' table, as cached here (`route`, `all`, `known`) and as stored now (`renew`, `read`, `stored`, `get`).

    The cache is read once in `CACHE_SECONDS`. While the table can't be read, the cached offers are used for twice as long.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._cached = CachedValue[tuple[StoredOffer, ...]](fresh_for(CACHE_SECONDS), StorageBusy)
        self._looked_up: dict[int, datetime] = {}
        """Hash of a name that no offer has → the time of its last look-up."""

    def route(self, references: OfferReferences) -> Offer | None:
        """The offer that takes a lead, None if none does.

        An offer saved in the last minute may have a name that this instance does not know. So the table is read again before a
        later name or the default offer decides.
        """
        offers, now = self.all(), clock.now()
        unknown = {hash(name) for name in references.unknown(offers)}
        if any(now - self._looked_up.get(name, now - LOOKED_UP_AGAIN) >= LOOKED_UP_AGAIN for name in unknown):
            offers = self.renew()
            if len(self._looked_up) > _LOOKED_UP_KEPT:
                self._looked_up = {}
            self._looked_up |= dict.fromkeys(unknown, now)
        return route(references, offers)

    def all(self) -> list[Offer]:
        """The offers, at most a minute old.

        An offer that can't be read is left out with an alarm. The default offer is then left out, too: leads of the unreadable
        offer must not go to the default offer's CRM. They wait as unrouted.
        """
        return [stored.offer for stored in self.known()]

    def renew(self) -> list[Offer]:
        """Read the table into the cache. Returns the offers as `all` does."""
        return [stored.offer for stored in self._cached.renew(self._usable)]

    def known(self) -> tuple[StoredOffer, ...]:
        """The offers of `all`, each with the time of its last change."""
        return self._cached.get(self._usable)

    def changed_at(self) -> datetime | None:
        """When an offer was last saved; None without offers."""
        return max((stored.changed_at for stored in self.known()), default=None)

    def _usable(self) -> tuple[StoredOffer, ...]:
        readable, unreadable = self.read()
        for one in unreadable:
            emit(Event.OFFER_UNREADABLE, row=one.row)
        return tuple(stored for stored in readable if not unreadable or stored.offer.id != DEFAULT_OFFER)

    def read(self) -> tuple[list[StoredOffer], list[UnreadableOffer]]:
        """The stored offers, by id, and the rows that this release can't read."""
        readable: list[StoredOffer] = []
        unreadable: list[UnreadableOffer] = []
        for entity in self._table.query(f"PartitionKey eq '{_PARTITION}'"):
            try:
                readable.append(_stored(entity))
            except UnreadableOffer as error:
                unreadable.append(error)
        return sorted(readable, key=lambda stored: stored.offer.id), unreadable

    def stored(self) -> list[StoredOffer]:
        """The stored offers, by id. Raises `UnreadableOffer` if this release can't read one."""
        readable, unreadable = self.read()
        if unreadable:
            raise unreadable[0]
        return readable

    def get(self, offer_id: str) -> StoredOffer | None:
        entity = self._table.get(_PARTITION, key_part(offer_id.strip()))
        return _stored(entity) if entity else None

    def save(self, offer: Offer, etag: str | None = None) -> str:
        """Store an offer. Returns its ETag.

        With `etag`, raises `OfferChanged` if it is no longer the stored one ("" = there is none yet).
        """
        entity = {
            "PartitionKey": _PARTITION,
            "RowKey": key_part(offer.id),
            "changed_at": clock.now(),
            **text_columns("offer", offer.model_dump_json()),
        }
        try:
            saved = self._table.write([("upsert", entity, replacing()) if etag is None else storing(entity, etag)])
        except Conflict:
            raise OfferChanged(offer.id) from None
        self.forget()
        return saved[0]

    def remove(self, offer_id: str, etag: str | None = None) -> bool:
        """Remove an offer; False if there is none of that id. Its undelivered leads become unrouted.

        With `etag`, raises `OfferChanged` if it is no longer the stored one.
        """
        row = key_part(offer_id.strip())
        if self._table.get(_PARTITION, row) is None:
            return False
        try:
            self._table.write([("delete", {"PartitionKey": _PARTITION, "RowKey": row}, if_unchanged(etag))])
        except Conflict:
            raise OfferChanged(offer_id) from None
        self.forget()
        return True

    def forget(self) -> None:
        """Read the table at the next use."""
        self._cached.forget()


def _stored(entity: Any) -> StoredOffer:
    try:
        # A field of a newer release is left out, so that its offers can be read after a rollback.
        offer = Offer.model_validate_json(joined_text(entity, "offer"), extra="ignore")
    except ValidationError as error:
        raise UnreadableOffer(entity["RowKey"], first_problem(error)) from None
    if not isinstance(changed_at := entity.get("changed_at"), datetime):
        raise UnreadableOffer(entity["RowKey"], "changed_at: is missing or not a time")
    return StoredOffer(offer=offer, etag=entity.metadata["etag"], changed_at=changed_at)
