"""When the secrets of destinations expire: as the offer says, as Key Vault knows, or as the secret itself tells."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

from leads.app import App
from leads.core import clock
from leads.destinations import read_settings
from leads.destinations.base import secret_references
from leads.health.alarms import Alarm
from leads.offers.model import DestinationConfig, Offer
from leads.platform.events import Event
from leads.platform.settings import SettingsError

WARNED_DAYS_BEFORE: Final = (30, 7, 1)


@dataclass(frozen=True, slots=True)
class Expiry:
    """A secret of a destination that expires, and where it is kept."""

    offer: str
    destination: str
    setting: str
    reference: str
    at: datetime


def expiries(app: App, offers: list[Offer]) -> Iterator[Expiry]:
    """The secrets whose expiry is known. A secret that can't be read now is left out: the connection's check says so."""
    for offer in offers:
        for config in offer.destinations:
            settings = read_settings(config.type, config.settings)
            for name, reference in secret_references(settings).items():
                if at := _earliest(app, config, name, reference):
                    yield Expiry(offer.id, config.name, name, reference, at)


def _earliest(app: App, config: DestinationConfig, name: str, reference: str) -> datetime | None:
    known = []
    if day := config.secret_expires.get(name):
        known.append(datetime.combine(day, time(), UTC))
    with suppress(SettingsError):
        known += app.secrets.expiries(reference)
    return min(known, default=None)


def alarms(app: App, offers: list[Offer]) -> Iterator[Alarm]:
    """A warning for each time that is to be warned of and has come: 30, 7 and 1 days before."""
    now = clock.now()
    for expiry in expiries(app, offers):
        for within in WARNED_DAYS_BEFORE:
            if expiry.at - now <= timedelta(days=within):
                yield Alarm(
                    Event.SECRET_EXPIRING,
                    {
                        "offer": expiry.offer,
                        "destination": expiry.destination,
                        "setting": expiry.setting,
                        "reference": expiry.reference,
                        "within": within,
                        "days": max(0, (expiry.at - now).days),
                    },
                )
