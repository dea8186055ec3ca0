"""The doctor's findings on offers, their secrets and their connections."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from shlex import quote
from typing import Final

from leads.core import clock
from leads.core.wording import with_code
from leads.destinations import read_settings
from leads.destinations.base import Context, secret_references
from leads.health.connection import Connection
from leads.offers.model import DestinationConfig, Offer, by_connection
from leads.offers.table import UnreadableOffer
from leads.operations.findings import Area, Finding, fine, note, side_by_side, wrong
from leads.operations.validation import check, isolated_destination
from leads.platform.secrets import SettingNotAllowed
from leads.platform.settings import OFFERS_SECRETS, Settings, SettingsError
from leads.watch import expiry

EXPIRES_SOON: Final = timedelta(days=expiry.WARNED_DAYS_BEFORE[0])


def look_at_offers(offers: Iterable[Offer], unreadable: Iterable[UnreadableOffer]) -> Iterator[Finding]:
    """A finding for each offer, and for each stored offer that can't be read."""
    offers = list(offers)
    for offer in offers:
        names = ", ".join(config.name for config in offer.destinations)
        yield fine(Area.OFFERS, offer.id, f"goes to {names}")
    for one in unreadable:
        remedy = (
            f"python -m leads offers remove '{one.row}', then save the offer again; or deploy the newer release again"
        )
        yield wrong(Area.OFFERS, one.row, "is stored, but this release can't read it", remedy)
    if not offers:
        remedy = "python -m leads offers connect ID"
        yield wrong(Area.OFFERS, "all", "no offer is configured, so every lead waits as unrouted", remedy)


@dataclass(slots=True)
class OfferExamination:
    """Checks the secrets of offers, then their connections. A connection with an unreadable secret is not checked."""

    context: Context
    offers: list[Offer]
    missing_secrets: set[str] = field(default_factory=set)

    def secrets(self) -> Iterator[Finding]:
        """Whether each secret can be read, and which ones expire soon."""
        uses = list(references(self.context.settings, self.offers))
        yield from side_by_side(Area.SECRETS, lambda use: self._secret(*use), uses)
        now = clock.now()
        for known in expiry.expiries(self.context.secrets, self.offers):
            about = f"{_about(known.offer, known.destination)}: {known.setting}"
            remedy = f"renew the secret and store it where {known.reference} points"
            if known.at <= now:
                yield wrong(Area.SECRETS, about, f"expired on {known.at:%Y-%m-%d}", remedy)
            elif known.at - now <= EXPIRES_SOON:
                yield wrong(Area.SECRETS, about, f"expires on {known.at:%Y-%m-%d}", remedy)

    def _secret(self, about: str, reference: str) -> Finding:
        try:
            self.context.secrets.read(reference)
        except SettingNotAllowed as error:
            self.missing_secrets.add(reference)
            return wrong(Area.SECRETS, about, str(error), self._way_to_allow())
        except SettingsError as error:
            self.missing_secrets.add(reference)
            remedy = (
                "set it where the app runs (infra/: keyVaultSettings)"
                if reference.startswith("env:")
                else "store it in the vault of LEADS_KEY_VAULT_URI, and give the identity the role Key Vault Secrets User there"
            )
            return wrong(Area.SECRETS, about, str(error).rstrip("."), remedy)
        return fine(Area.SECRETS, about, f"{reference} can be read")

    def _way_to_allow(self) -> str:
        """The remedy for settings that offers may not read: another name, or the setting that allows them."""
        settings = self.context.settings
        named = {
            reference.removeprefix("env:") for _, reference in references(settings, self.offers) if "env:" in reference
        }
        allowed = settings.allowed_settings | {name for name in named if not settings.allows_reading(name)}
        return (
            f"name a setting that begins with {OFFERS_SECRETS} instead; or, if each of these is a secret of the offer's own "
            f"vendor, set LEADS_ALLOWED_SETTINGS={','.join(sorted(allowed))} where the app runs; the app then sends the leads"
        )

    def connections(self, stored: Mapping[str, Connection]) -> Iterator[Finding]:
        """Whether each connection is usable. `stored`: the stored health by id."""
        looked = [(stored.get(key) or Connection(key), uses) for key, uses in by_connection(self.offers).items()]
        yield from side_by_side(Area.CONNECTIONS, lambda one: self._connection(*one), looked)

    def _connection(self, connection: Connection, uses: list[tuple[Offer, DestinationConfig]]) -> Finding:
        config = uses[0][1]
        where = ", ".join(_about(offer.id, one.name) for offer, one in uses)
        about = f"{connection.id} ({config.type}; {where})"
        if connection.by_person:
            says = f"a person has paused it: {connection.person_note}"
            return wrong(Area.CONNECTIONS, about, says, f"python -m leads connections resume {connection.id}")
        named = secret_references(read_settings(config.type, config.settings)).values()
        if not self.missing_secrets.isdisjoint(named):
            return note(Area.CONNECTIONS, about, "not checked, because a secret can't be read")
        found, answer = check(isolated_destination(self.context, config, self.context.secrets))
        problem = with_code(found.problem.removesuffix("."), found.code)  # the remedy follows
        if found.transient:
            remedy = "the app retries and no lead is lost; if the problem lasts, see the vendor's status page"
            return note(Area.CONNECTIONS, about, f"out of reach for now: {problem}", remedy, answer)
        if not found.ok:
            remedy = "fix the problem as described; within a minute the connection opens and the app sends its leads"
            return wrong(Area.CONNECTIONS, about, problem, remedy, answer)
        return _usable(connection, about, uses[0][0].id, found.problem)


def _usable(connection: Connection, about: str, offer: str, problem: str) -> Finding:
    """The finding for a connection that passes its check, by its last deliveries. `problem` names what the app leaves out."""
    if connection.refusal:
        says = f"its check passes, but {connection.last_refusal}"
        remedy = (
            "change what the refusal names, or read the receiver's log; then send a test lead: "
            f"python -m leads offers test {quote(offer)}"
        )
        return wrong(Area.CONNECTIONS, about, says, remedy)
    if connection.paused:
        return note(Area.CONNECTIONS, about, "works, and is still paused", "the app opens it within minutes")
    if connection.failures:
        says = f"its check passes, but the last attempts in a row failed: {connection.failures}"
        return note(Area.CONNECTIONS, about, says, "the app retries the leads, and none is lost")
    if problem:
        return note(Area.CONNECTIONS, about, f"works, but: {problem}", "leads are delivered despite this")
    return fine(Area.CONNECTIONS, about, "works")


def references(settings: Settings, offers: Iterable[Offer]) -> Iterator[tuple[str, str]]:
    """Each secret reference, with its use."""
    if settings.notify_webhook:
        yield "LEADS_NOTIFY_WEBHOOK", settings.notify_webhook
    for offer in offers:
        if offer.announce is not None:
            yield f"{offer.id}: announce.webhook", offer.announce.webhook
        for config in offer.destinations:
            for name, reference in secret_references(read_settings(config.type, config.settings)).items():
                yield f"{_about(offer.id, config.name)}: {name}", reference


def _about(offer: str, destination: str) -> str:
    return f"{offer} {destination}"
