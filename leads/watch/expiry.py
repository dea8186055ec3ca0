"""Expiry of destinations' secrets, from the offer, Key Vault, or the secret itself (a shared access signature)."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from leads.core import clock
from leads.destinations import read_settings
from leads.destinations.base import secret_references
from leads.health.alarms import Alarm
from leads.offers.model import DestinationConfig, Offer
from leads.platform.events import Event
from leads.platform.secrets import Secrets
from leads.platform.settings import SettingsError

WARNED_DAYS_BEFORE: Final = (30, 7, 1)


@dataclass(frozen=True, slots=True)
class Expiry:
    """A secret of a destination that expires. `reference`: where the secret is kept."""

    offer: str
    destination: str
    setting: str
    reference: str
    at: datetime


def expiries(secrets: Secrets, offers: list[Offer]) -> Iterator[Expiry]:
    """The secrets with a known expiry. A secret that can't be read is left out, because the connection's check reports it."""
    for offer in offers:
        for config in offer.destinations:
            settings = read_settings(config.type, config.settings)
            for name, reference in secret_references(settings).items():
                if at := _earliest(secrets, config, name, reference):
                    yield Expiry(offer.id, config.name, name, reference, at)


def _earliest(secrets: Secrets, config: DestinationConfig, name: str, reference: str) -> datetime | None:
    known = []
    if day := config.secret_expires.get(name):
        known.append(clock.midnight(day))
    with suppress(SettingsError):
        known += secrets.expiries(reference)
    return min(known, default=None)


def alarms(secrets: Secrets, offers: list[Offer]) -> Iterator[Alarm]:
    """An alarm for each threshold (30, 7 and 1 days before the expiry) that a secret has reached."""
    now = clock.now()
    for expiry in expiries(secrets, offers):
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
