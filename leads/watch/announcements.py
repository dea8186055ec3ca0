"""Announces delivered leads to a chat or a program, for offers that ask for it.

A delivery only puts a note on a queue. `watch` reads the note and the lead, posts the announcement, and retries for a day. A lead
is announced once for each destination, or twice if a worker is killed between the post and the removal of the note.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from azure.storage.queue import QueueMessage

from leads.core import clock
from leads.core.identity import is_lead_id
from leads.core.lead import Stage
from leads.core.states import State
from leads.core.wording import counted
from leads.destinations.text import STAGE_NAMES
from leads.ledger.rows import LeadRecord
from leads.ledger.transactions import Ledger
from leads.offers.model import Announcement, DestinationOf, Offer
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.secrets import Secrets
from leads.platform.settings import Settings
from leads.platform.steps import isolated
from leads.platform.storage import Queue
from leads.platform.threads import NotDoneInTime, map_as_done
from leads.watch import notifications

BATCH: Final = 32
BATCHES_A_TICK: Final = 10
AT_ONCE: Final = 8
POST_SECONDS: Final = 30
REMOVE_SECONDS: Final = 10
"""Time reserved for removing the notes after a post: a note that stays is posted again."""
ANNOUNCE_SECONDS: Final = 52
HIDDEN_SECONDS: Final = 300
"""Visibility timeout of a note, and so the delay after a failure. It is far longer than a tick."""
KEPT_FOR: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Delivered:
    """A note and its delivery."""

    message: QueueMessage
    record: LeadRecord
    destination: str


@dataclass(frozen=True, slots=True)
class Announcer:
    """Announces the deliveries that the notes on a queue name."""

    notices: Queue
    ledger: Ledger
    settings: Settings
    secrets: Secrets
    destination_of: DestinationOf

    def announce(self, offers: Sequence[Offer]) -> None:
        """Post the deliveries since the last tick: at most `BATCHES_A_TICK` batches, within `ANNOUNCE_SECONDS`.

        Raises `NotDoneInTime` if some deliveries are left for the next tick.
        """
        announcing = {offer.id.casefold(): offer for offer in offers if offer.announce}
        if not announcing:
            return
        with deadline.within(ANNOUNCE_SECONDS):
            for _ in range(BATCHES_A_TICK):
                messages = self.notices.receive(BATCH, HIDDEN_SECONDS)
                if not messages:
                    return
                waiting = self._by_offer(messages, announcing)
                left = sum(
                    map_as_done(
                        lambda one: self._announce(announcing[one[0]], one[1]),
                        waiting.items(),
                        at_most=AT_ONCE,
                        seconds=ANNOUNCE_SECONDS,
                    )
                )
                if left:
                    raise NotDoneInTime(f"{left} announcements wait for the next run")

    def _by_offer(
        self, messages: Sequence[QueueMessage], announcing: Mapping[str, Offer]
    ) -> dict[str, list[_Delivered]]:
        """The deliveries to announce, by offer. Other notes are removed."""
        waiting: dict[str, list[_Delivered]] = {}
        for message in messages:
            found = None
            with isolated("announcement"):
                found = self._delivered(message)
            if found is None or found.record.offer.casefold() not in announcing:
                self.notices.delete(message)
            else:
                waiting.setdefault(found.record.offer.casefold(), []).append(found)
        return waiting

    def _announce(self, offer: Offer, delivered: Sequence[_Delivered]) -> int:
        """Post an offer's deliveries, if the time allows the post and the removal of its notes. Returns how many are left."""
        if deadline.remaining() < POST_SECONDS + REMOVE_SECONDS:
            for one in delivered:
                self.notices.show_again(one.message)
            return len(delivered)
        with isolated("announcement"):
            self._post(offer, delivered)
        return 0

    def _delivered(self, message: QueueMessage) -> _Delivered | None:
        """The delivery that a note names; None if the lead is not to be announced, or the note is too old."""
        try:
            note = json.loads(message.content)
            lead_id, destination = note["lead_id"], str(note["destination"])
            recent = message.inserted_on is None or clock.now() - message.inserted_on < KEPT_FOR
            record = self.ledger.read(lead_id) if recent and is_lead_id(lead_id) else None
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        delivery = record.deliveries.get(destination) if record else None
        if record is None or record.lead is None or delivery is None or delivery.state is not State.DELIVERED:
            return None
        return _Delivered(message, record, destination)

    def _post(self, offer: Offer, delivered: Sequence[_Delivered]) -> None:
        announcement = offer.announce
        assert announcement is not None  # noqa: S101
        notice = self._notice(offer, announcement, delivered)
        with deadline.within(POST_SECONDS):
            why = notifications.post(self.settings, self.secrets, announcement.webhook, notice, announcement.format)
        if why:
            emit(Event.NOTICE_FAILED, what="announcement", why=why)
            return
        for one in delivered:
            self.notices.delete(one.message)

    def _notice(
        self, offer: Offer, announcement: Announcement, delivered: Sequence[_Delivered]
    ) -> notifications.Notice:
        leads = [self._data(offer, announcement, one) for one in delivered]
        count = counted(len(leads), "lead")
        return notifications.Notice(
            title=f"{count} for {offer.titles[0] if offer.titles else offer.id}",
            lines=[_line(lead) for lead in leads],
            data={"type": "leads.delivered", "leads": leads},
        )

    def _data(self, offer: Offer, announcement: Announcement, one: _Delivered) -> dict[str, Any]:
        record, lead = one.record, one.record.lead
        assert lead is not None  # noqa: S101
        delivery = record.deliveries[one.destination]
        config = offer.destination(one.destination)
        link = self.destination_of(config).record_link(delivery.record_id) if config and delivery.record_id else ""
        data: dict[str, Any] = {
            "lead_id": record.lead_id,
            "offer": offer.id,
            "stage": record.stage.value,
            "is_test": lead.is_test,
            "destination": one.destination,
            "link": link,
            **({"unconfirmed": True} if delivery.unconfirmed else {}),
        }
        if announcement.with_person:
            name = " ".join(filter(None, (lead.first_name, lead.last_name)))
            data["person"] = {"name": name, "company": lead.company, "email": lead.email}
        return data


def _line(lead: dict[str, Any]) -> notifications.Line:
    who = ", ".join(value for value in lead.get("person", {}).values() if value)
    where = f"{lead['destination']} (unconfirmed)" if lead.get("unconfirmed") else lead["destination"]
    parts = [
        f"{'[Test] ' if lead['is_test'] else ''}{STAGE_NAMES[Stage(lead['stage'])]}",
        who,
        where if lead["link"] else f"{where}, lead {lead['lead_id']}",
    ]
    return notifications.Line(" – ".join(filter(None, parts)), lead["link"])
