"""The doctor: what is wrong with this deployment, in words, each with its remedy.

Nothing that is wrong keeps it from looking at the rest, and it changes nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from shlex import quote
from typing import Final, TypeVar

from azure.core.exceptions import AzureError
from pydantic import BaseModel, Field

from leads.app import App
from leads.core import clock
from leads.core.problems import code_location
from leads.destinations import read_settings
from leads.destinations.answers import last_answer, listen
from leads.destinations.base import secret_references
from leads.destinations.bounded_calls import check_connection
from leads.destinations.limits import ALLOWANCES_TABLE
from leads.health.alarms import ALARMS_TABLE
from leads.health.connection import Connection
from leads.health.connections import CONNECTIONS_TABLE
from leads.health.empty_bodies import WITHOUT_LENGTH_FOR
from leads.health.lead_counts import COUNTS_TABLE
from leads.ledger.queries import unreadable_rows
from leads.ledger.transactions import LEDGER_TABLE
from leads.offers.model import DestinationConfig, Offer, by_connection
from leads.offers.table import OFFERS_TABLE
from leads.operations.operation import Nothing
from leads.operations.validation import isolated_destination
from leads.platform import deadline
from leads.platform.events import Event
from leads.platform.row_reading import UnreadableRow
from leads.platform.secrets import SettingNotAllowed
from leads.platform.settings import OFFERS_SECRETS, Settings, SettingsError, read_usable_settings, unread_variables
from leads.platform.storage import LEADS_QUEUE, NOTICES_QUEUE, POISON_QUEUE, Queue, StorageError, Table
from leads.platform.storage_errors import no_login, storage_problem
from leads.platform.threads import NotDoneInTime, map_in_order
from leads.watch import expiry
from leads.watch.conditions import CALLS_FOR

QUEUES: Final = (LEADS_QUEUE, POISON_QUEUE, NOTICES_QUEUE)
TABLES: Final = (LEDGER_TABLE, OFFERS_TABLE, CONNECTIONS_TABLE, ALLOWANCES_TABLE, ALARMS_TABLE, COUNTS_TABLE)
EXPIRES_SOON: Final = timedelta(days=expiry.WARNED_DAYS_BEFORE[0])
WATCH_IS_SILENT: Final = timedelta(minutes=45)
"""`watch` counts leads every quarter of an hour: three of them without a trace are no chance."""
_TOKEN_SCOPE: Final = "https://storage.azure.com/.default"  # noqa: S105
"""Microsoft Learn, "Authorize access to blobs using Microsoft Entra ID", section "Microsoft Entra resource ID"."""
_AT_ONCE: Final = 16
EXAMINATION_SECONDS: Final = 120
"""All of it, however much is hanging: the command line waits for 150 seconds, with a cold start before."""

T = TypeVar("T")


class Area(StrEnum):
    """What was looked at, in the order in which to mend it."""

    SETTINGS = "settings"
    IDENTITY = "identity"
    QUEUES = "queues"
    TABLES = "tables"
    OFFERS = "offers"
    SECRETS = "secrets"
    CONNECTIONS = "connections"
    INTAKE = "intake"
    APP = "app"


class Level(StrEnum):
    """`wrong` needs a person; `note` passes by itself, or may be as it should be."""

    WRONG = "wrong"
    NOTE = "note"
    FINE = "fine"


class Finding(BaseModel):
    """What was found, and what to do about it."""

    area: Area
    about: str
    level: Level
    says: str
    remedy: str = ""
    answer: str = Field(default="", exclude=True)
    """An excerpt of what a vendor has answered: for the shell of who looks, never over HTTP."""


class Diagnosis(BaseModel):
    """Everything that was looked at, what is wrong first."""

    needs_a_person: bool = Field(description="Whether anything is `wrong`.")
    findings: list[Finding]


def examine_deployment(app: App, request: Nothing) -> Diagnosis:
    """Look for what is wrong with settings, identity, queues, tables, offers, secrets and connections. Changes nothing."""
    with deadline.within(EXAMINATION_SECONDS):
        found = _grouped(_Examination(app).findings())
    order = [*Level]
    found.sort(key=lambda finding: order.index(finding.level))
    return Diagnosis(needs_a_person=any(finding.level is Level.WRONG for finding in found), findings=found)


def _grouped(findings: Iterable[Finding]) -> list[Finding]:
    """What is said of several things in the same words is said once."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for finding in findings:
        key = (finding.area, finding.level, finding.says, finding.remedy, finding.answer)
        about = groups.setdefault(key, [])
        if finding.about not in about:
            about.append(finding.about)
    return [
        Finding(area=Area(area), level=Level(level), says=says, remedy=remedy, answer=answer, about=", ".join(about))
        for (area, level, says, remedy, answer), about in groups.items()
    ]


def _wrong(area: Area, about: str, says: str, remedy: str, answer: str = "") -> Finding:
    return Finding(area=area, about=about, level=Level.WRONG, says=says, remedy=remedy, answer=answer)


def _note(area: Area, about: str, says: str, remedy: str = "", answer: str = "") -> Finding:
    return Finding(area=area, about=about, level=Level.NOTE, says=says, remedy=remedy, answer=answer)


def _fine(area: Area, about: str, says: str) -> Finding:
    return Finding(area=area, about=about, level=Level.FINE, says=says)


@dataclass(slots=True)
class _Examination:
    """One look at everything; what was found out in one step decides which later ones can be made."""

    app: App
    offers: list[Offer] = field(default_factory=list)
    readable: set[str] = field(default_factory=set)
    """The queues and tables that can be read."""
    missing_secrets: set[str] = field(default_factory=set)

    def findings(self) -> Iterator[Finding]:
        wrong = read_usable_settings()[1]
        yield from (_wrong(Area.SETTINGS, *_split_problem(problem)) for problem in wrong)
        if self._has_storage():
            yield from self._storage()
        elif not any(problem.startswith("LeadsStorage") for problem in wrong):
            says = "no storage is configured"
            yield _wrong(
                Area.SETTINGS, "LeadsStorage", says, "set it to a connection string, or LeadsStorage__accountName"
            )
        yield from _guarded(Area.TABLES, self._rows)
        yield from _guarded(Area.OFFERS, self._offers)
        yield from _guarded(Area.SECRETS, self._secrets)
        yield from _guarded(Area.CONNECTIONS, self._connections)
        yield from _guarded(Area.INTAKE, self._intake)
        yield from _guarded(Area.APP, self._watch)
        yield from self._unread()

    # settings, identity

    def _has_storage(self) -> bool:
        settings = self.app.settings
        return bool(settings.storage_connection_string or _has_endpoints(settings))

    def _storage(self) -> Iterator[Finding]:
        settings = self.app.settings
        if not settings.storage_connection_string:
            finding = self._identity()
            yield finding
            if finding.level is not Level.FINE:
                return
        elif _has_endpoints(settings):
            says = "there are both a connection string and an account for the identity: the connection string is used"
            yield _note(Area.SETTINGS, "LeadsStorage", says, "remove the one that is not meant")
        else:
            yield _fine(Area.SETTINGS, "LeadsStorage", "by connection string")
        yield from self._stores()

    def _identity(self) -> Finding:
        about = "managed identity" if self.app.settings.storage_credential else "Azure login"
        try:
            self.app.settings.credential.get_token(_TOKEN_SCOPE)
        except (AzureError, ValueError) as error:
            found = no_login()
            return _wrong(Area.IDENTITY, about, f"{found.says} ({type(error).__name__})", found.remedy)
        return _fine(Area.IDENTITY, about, "gets tokens for storage")

    # queues, tables

    def _stores(self) -> Iterator[Finding]:
        def look(area: Area, name: str) -> Finding:
            queues = area is Area.QUEUES
            try:
                looked = self._queue(name) if queues else self._table(name)
            except Exception as error:  # noqa: BLE001 - whatever it is, the rest is looked at
                return _failed(area, name, error)
            self.readable.add(name)
            return looked

        wanted = [(Area.QUEUES, name) for name in QUEUES] + [(Area.TABLES, name) for name in TABLES]
        yield from self._each(Area.TABLES, lambda one: look(*one), wanted)

    def _queue(self, name: str) -> Finding:
        queue: Queue = self.app.storage.queue(name, encoded=name == LEADS_QUEUE)
        count = queue.count()
        queue.try_to_change()
        if count is None:
            return _not_there(Area.QUEUES, name)
        if name == POISON_QUEUE and count:
            remedy = "drain_poison empties it every minute: if the number stays, see that function's log"
            return _note(Area.QUEUES, name, f"holds {count} messages that made the worker fail", remedy)
        return _fine(Area.QUEUES, name, "can be read and written")

    def _table(self, name: str) -> Finding:
        table: Table = self.app.storage.table(name)
        exists = table.exists()
        table.try_to_change()
        return _fine(Area.TABLES, name, "can be read and written") if exists else _not_there(Area.TABLES, name)

    def _rows(self) -> Iterator[Finding]:
        found: list[tuple[str, UnreadableRow]] = []
        if LEDGER_TABLE in self.readable:
            found += [(LEDGER_TABLE, row) for row in unreadable_rows(self.app.ledger)]
        if CONNECTIONS_TABLE in self.readable:
            found += [(CONNECTIONS_TABLE, row) for row in self.app.connections.unreadable()]
        for (table, what), count in Counter((table, one.what) for table, one in found).items():
            first = next(one.row for name, one in found if (name, one.what) == (table, what))
            says = f"{count} rows ({what}) can't be read by this release, the first is {first}"
            remedy = "deploy the release that wrote them; what can't be read is left out everywhere, and nothing of it is lost"
            yield _wrong(Area.TABLES, table, says, remedy)

    # offers

    def _offers(self) -> Iterator[Finding]:
        if OFFERS_TABLE not in self.readable:
            yield _note(Area.OFFERS, "all", "not looked at, nor at their secrets and connections: they can't be read")
            return
        stored, unreadable = self.app.offers.read()
        for offer in (each.offer for each in stored):
            self.offers.append(offer)
            names = ", ".join(config.name for config in offer.destinations)
            yield _fine(Area.OFFERS, offer.id, f"goes to {names}")
        for one in unreadable:
            remedy = f"python -m leads offers remove '{one.row}', then set it anew; or go back to the newer release"
            yield _wrong(Area.OFFERS, one.row, "is stored, and this release can't read it", remedy)
        if not self.offers:
            remedy = "python -m leads offers connect ID"
            yield _wrong(Area.OFFERS, "all", "none is configured: every lead waits as unrouted", remedy)

    # secrets

    def _secrets(self) -> Iterator[Finding]:
        uses = list(_references(self.app.settings, self.offers))
        yield from self._each(Area.SECRETS, lambda use: self._secret(*use), uses)
        now = clock.now()
        for known in expiry.expiries(self.app, self.offers):
            about, remedy = (
                _about(known.offer, known.destination),
                f"renew it, and store it where {known.reference} points",
            )
            if known.at <= now:
                yield _wrong(Area.SECRETS, f"{about}: {known.setting}", f"expired on {known.at:%Y-%m-%d}", remedy)
            elif known.at - now <= EXPIRES_SOON:
                yield _wrong(Area.SECRETS, f"{about}: {known.setting}", f"expires on {known.at:%Y-%m-%d}", remedy)

    def _secret(self, about: str, reference: str) -> Finding:
        try:
            self.app.secrets.read(reference)
        except SettingNotAllowed as error:
            self.missing_secrets.add(reference)
            return _wrong(Area.SECRETS, about, str(error), self._way_to_allow())
        except SettingsError as error:
            self.missing_secrets.add(reference)
            remedy = (
                "set it where the app runs (infra/: keyVaultSettings); only --app URL sees the settings of the deployed app"
                if reference.startswith("env:")
                else "store it in the vault of LEADS_KEY_VAULT_URI, and give the identity the role Key Vault Secrets User there"
            )
            return _wrong(Area.SECRETS, about, str(error).rstrip("."), remedy)
        return _fine(Area.SECRETS, about, f"{reference} can be read")

    def _way_to_allow(self) -> str:
        """The setting that lets offers have what they name today, and what to look at before."""
        settings = self.app.settings
        named = {
            reference.removeprefix("env:") for _, reference in _references(settings, self.offers) if "env:" in reference
        }
        allowed = settings.allowed_settings | {name for name in named if not settings.allows_reading(name)}
        return (
            f"name a setting that begins with {OFFERS_SECRETS} instead; or, where each of these is a secret of the offer's own "
            f"vendor, set LEADS_ALLOWED_SETTINGS={','.join(sorted(allowed))} where the app runs; the leads wait, and follow"
        )

    # connections

    def _connections(self) -> Iterator[Finding]:
        stored: dict[str, Connection] = {}
        if CONNECTIONS_TABLE in self.readable:
            stored = {connection.id: connection for connection in self.app.connections.stored()}
        looked = [(stored.get(key) or Connection(key), uses) for key, uses in by_connection(self.offers).items()]
        yield from self._each(Area.CONNECTIONS, lambda one: self._connection(*one), looked)

    def _connection(self, connection: Connection, uses: list[tuple[Offer, DestinationConfig]]) -> Finding:
        config = uses[0][1]
        where = ", ".join(_about(offer.id, one.name) for offer, one in uses)
        about = f"{connection.id} ({config.type}; {where})"
        if connection.by_person:
            says = f"a person has paused it: {connection.person_note}"
            return _wrong(Area.CONNECTIONS, about, says, f"python -m leads connections resume {connection.id}")
        references = secret_references(read_settings(config.type, config.settings)).values()
        if not self.missing_secrets.isdisjoint(references):
            return _note(Area.CONNECTIONS, about, "not asked: a secret of it can't be read")
        destination = isolated_destination(self.app.context, config, self.app.secrets)
        heard = listen(destination)
        found = check_connection(destination)
        answer = "" if found.ok else last_answer(heard, destination)
        code = f" ({found.code})" if found.code else ""
        if found.transient:
            remedy = "the app tries again by itself, and no lead is lost; if it lasts, see the vendor's status page"
            return _note(Area.CONNECTIONS, about, f"out of reach for now: {found.problem}{code}", remedy, answer)
        if not found.ok:
            remedy = "mend it as it says; the connection opens by itself within a minute, and its leads follow"
            return _wrong(Area.CONNECTIONS, about, f"{found.problem}{code}", remedy, answer)
        return _usable(connection, about, uses[0][0].id, found.problem)

    # the intake, the app itself

    def _intake(self) -> Iterator[Finding]:
        if ALARMS_TABLE not in self.readable:
            return
        last = next((note for note in self.app.empty_bodies.notes() if note.event is Event.BODY_WITHOUT_LENGTH), None)
        if last is None or clock.now() - last.at > CALLS_FOR:
            yield _fine(Area.INTAKE, "senders", f"give each lead a length, as far as is known of {CALLS_FOR.days} days")
            return
        says = f"a lead came without a Content-Length at {last.at:%Y-%m-%d %H:%M} UTC, and is lost"
        about = f"sender {last.user_agent}" if last.user_agent else "a sender without a name"
        remedy = "have it give a length, or let a gateway buffer its bodies (docs/connecting.md, A sender that gives no length)"
        if clock.now() - last.at < WITHOUT_LENGTH_FOR:
            yield _wrong(Area.INTAKE, about, says, remedy)
        else:
            yield _note(Area.INTAKE, about, says, f"{remedy}; nothing, where that is done")

    def _watch(self) -> Iterator[Finding]:
        if COUNTS_TABLE not in self.readable:
            return
        until = self.app.counts.counted_until()
        remedy = (
            "see whether the function app is started, its function watch enabled, and what that function's log says"
        )
        if until is None:
            yield _note(
                Area.APP, "watch", "has left no trace yet", f"a new app leaves one within 15 minutes; else {remedy}"
            )
        elif clock.now() - until > WATCH_IS_SILENT:
            yield _wrong(Area.APP, "watch", f"has not run since {until:%Y-%m-%d %H:%M} UTC", remedy)
        else:
            yield _fine(Area.APP, "watch", f"has run at {until:%Y-%m-%d %H:%M} UTC")

    def _unread(self) -> Iterator[Finding]:
        secrets = {reference.removeprefix("env:") for _, reference in _references(self.app.settings, self.offers)}
        known = [info.alias for info in Settings.model_fields.values() if info.alias]
        for name in unread_variables():
            if name not in secrets:
                close = get_close_matches(name, known, n=1, cutoff=0.8)
                remedy = f"did you mean {close[0]}?" if close else "remove it"
                yield _note(Area.SETTINGS, name, "nothing reads this variable", remedy)

    def _each(self, area: Area, look: Callable[[T], Finding], wanted: list[T]) -> Iterator[Finding]:
        """Look at several things side by side, as long as there is time."""
        try:
            yield from map_in_order(look, wanted, at_most=_AT_ONCE, seconds=EXAMINATION_SECONDS)
        except NotDoneInTime as error:
            yield _note(area, "some", str(error), "look again; what hangs now may answer then")


def _usable(connection: Connection, about: str, offer: str, problem: str) -> Finding:
    """A connection whose check passes, by what its deliveries have met with. `problem` is what leads are stored without."""
    if connection.refusal:
        says = f"its check passes, but {connection.last_refusal}"
        remedy = (
            "change what it names, or see the receiver's log; then send a test lead: "
            f"python -m leads offers test {quote(offer)}"
        )
        return _wrong(Area.CONNECTIONS, about, says, remedy)
    if connection.paused:
        return _note(
            Area.CONNECTIONS, about, "works, and is still paused", "it opens with the next lead, within minutes"
        )
    if connection.failures:
        says = f"its check passes, but the last attempts in a row failed: {connection.failures}"
        return _note(Area.CONNECTIONS, about, says, "leads are tried again by themselves, and none is lost")
    if problem:
        return _note(Area.CONNECTIONS, about, f"works, but: {problem}", "leads are delivered despite this")
    return _fine(Area.CONNECTIONS, about, "works")


def _guarded(area: Area, step: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from step()
    except Exception as error:  # noqa: BLE001 - whatever it is, the rest is looked at
        yield _failed(area, "all", error)


def _failed(area: Area, about: str, error: Exception) -> Finding:
    if isinstance(error, StorageError):
        found = storage_problem(error)
        return _wrong(area, about, found.says, found.remedy)
    return _wrong(area, about, f"can't be looked at ({code_location(error)})", "check what LeadsStorage says")


def _has_endpoints(settings: Settings) -> bool:
    return bool(settings.storage_account_name or (settings.storage_queue_uri and settings.storage_table_uri))


def _split_problem(problem: str) -> tuple[str, str, str]:
    """A wrong setting's name, what is wrong, and what to do: a problem begins with the field and ends with the fix."""
    name, _, says = problem.partition(": ")
    return name, says, "correct it: until then leads are answered 503, and none is delivered"


def _not_there(area: Area, name: str) -> Finding:
    remedy = "the app makes it at first use; if it has had leads before, look whether LeadsStorage is the right account"
    return _note(area, name, "is not there yet", remedy)


def _references(settings: Settings, offers: Iterable[Offer]) -> Iterator[tuple[str, str]]:
    """Every secret reference, with what it is for."""
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
