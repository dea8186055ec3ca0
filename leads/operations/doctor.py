"""The doctor: lists the problems of this deployment, each with its remedy.

A failed check does not stop the others. The doctor changes nothing.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Final

from azure.core.exceptions import AzureError
from pydantic import BaseModel, Field

from leads.app import App
from leads.core import clock
from leads.core.wording import counted
from leads.destinations.rate_limiter import ALLOWANCES_TABLE
from leads.health.alarms import ALARMS_TABLE
from leads.health.connection import Connection
from leads.health.connections import CONNECTIONS_TABLE
from leads.health.empty_bodies import WITHOUT_LENGTH_FOR
from leads.health.lead_counts import COUNTS_TABLE
from leads.ledger.audit import AUDIT_TABLE
from leads.ledger.queries import unreadable_rows
from leads.ledger.transactions import LEDGER_TABLE
from leads.offers.model import Offer
from leads.offers.table import OFFERS_TABLE
from leads.operations.findings import Area, Finding, Level, failed, fine, grouped, guarded, note, side_by_side, wrong
from leads.operations.offer_findings import OfferExamination, look_at_offers, references
from leads.operations.operation import Nothing
from leads.platform import deadline
from leads.platform.build import this_build
from leads.platform.events import Event
from leads.platform.row_reading import UnreadableRow
from leads.platform.settings import Settings, read_usable_settings, unread_variables
from leads.platform.storage import LEADS_QUEUE, NOTICES_QUEUE, POISON_QUEUE, Queue, Table
from leads.platform.storage_errors import no_login
from leads.watch.conditions import CALLS_FOR

QUEUES: Final = (LEADS_QUEUE, POISON_QUEUE, NOTICES_QUEUE)
TABLES: Final = (
    LEDGER_TABLE,
    OFFERS_TABLE,
    CONNECTIONS_TABLE,
    ALLOWANCES_TABLE,
    ALARMS_TABLE,
    COUNTS_TABLE,
    AUDIT_TABLE,
)
WATCH_IS_SILENT: Final = timedelta(minutes=45)
"""`watch` counts leads every 15 minutes. After three missing counts, the doctor reports it."""
_TOKEN_SCOPE: Final = "https://storage.azure.com/.default"  # noqa: S105
"""Microsoft Learn, "Authorize access to blobs using Microsoft Entra ID", section "Microsoft Entra resource ID"."""
EXAMINATION_SECONDS: Final = 120
"""The limit for all checks. The command line waits 150 seconds, which include a cold start."""


class Diagnosis(BaseModel):
    """All findings, `wrong` ones first."""

    needs_a_person: bool = Field(description="Whether anything is `wrong`.")
    findings: list[Finding]


def examine_deployment(app: App, request: Nothing) -> Diagnosis:
    """Check settings, identity, queues, tables, offers, secrets and connections. Changes nothing."""
    with deadline.within(EXAMINATION_SECONDS):
        found = grouped(_Examination(app).findings())
    order = [*Level]
    found.sort(key=lambda finding: order.index(finding.level))
    return Diagnosis(needs_a_person=any(finding.level is Level.WRONG for finding in found), findings=found)


@dataclass(slots=True)
class _Examination:
    """One examination. The results of a step decide which later steps are possible."""

    app: App
    offers: list[Offer] = field(default_factory=list)
    readable: set[str] = field(default_factory=set)
    """The queues and tables that can be read."""

    def findings(self) -> Iterator[Finding]:
        problems = read_usable_settings()[1]
        yield from (wrong(Area.SETTINGS, *_split_problem(problem)) for problem in problems)
        if self._has_storage():
            yield from self._storage()
        elif not any(problem.startswith("LeadsStorage") for problem in problems):
            says = "no storage is configured"
            yield wrong(
                Area.SETTINGS, "LeadsStorage", says, "set it to a connection string, or LeadsStorage__accountName"
            )
        yield from self._sign_in()
        yield from guarded(Area.TABLES, self._rows)
        yield from guarded(Area.OFFERS, self._offers)
        used = OfferExamination(self.app.context, self.offers)
        yield from guarded(Area.SECRETS, used.secrets)
        yield from guarded(Area.CONNECTIONS, lambda: used.connections(self._health()))
        yield from guarded(Area.INTAKE, self._intake)
        yield self._release()
        yield from guarded(Area.APP, self._watch)
        yield from self._unread()

    # settings, identity

    def _sign_in(self) -> Iterator[Finding]:
        settings = self.app.settings
        if not settings.sign_in:
            return
        about = "LEADS_SIGN_IN"
        remedy = (
            "deploy with the parameter manageClientId, which switches the platform's authentication on; or remove it"
        )
        if settings.platform_signs_in:
            yield fine(Area.SETTINGS, about, "people and programs sign in with Entra ID")
        elif settings.platform_signs_in is None:
            says = (
                "the platform does not say whether its authentication is on; if it is off, anybody can seem signed in"
            )
            yield note(Area.SETTINGS, about, says, remedy)
        else:
            yield wrong(
                Area.SETTINGS, about, "the platform's authentication is off, so the app rejects every sign-in", remedy
            )

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
            yield note(Area.SETTINGS, "LeadsStorage", says, "remove one of them")
        else:
            yield fine(Area.SETTINGS, "LeadsStorage", "by connection string")
        yield from self._stores()

    def _identity(self) -> Finding:
        about = "managed identity" if self.app.settings.storage_credential else "Azure login"
        try:
            self.app.settings.credential.get_token(_TOKEN_SCOPE)
        except (AzureError, ValueError) as error:
            found = no_login()
            return wrong(Area.IDENTITY, about, f"{found.says} ({type(error).__name__})", found.remedy)
        return fine(Area.IDENTITY, about, "gets tokens for storage")

    # queues, tables

    def _stores(self) -> Iterator[Finding]:
        def look(area: Area, name: str) -> Finding:
            queues = area is Area.QUEUES
            try:
                looked = self._queue(name) if queues else self._table(name)
            except Exception as error:  # noqa: BLE001 - a failed check does not stop the others
                return failed(area, name, error)
            self.readable.add(name)
            return looked

        wanted = [(Area.QUEUES, name) for name in QUEUES] + [(Area.TABLES, name) for name in TABLES]
        yield from side_by_side(Area.TABLES, lambda one: look(*one), wanted)

    def _queue(self, name: str) -> Finding:
        queue: Queue = self.app.storage.queue(name, encoded=name == LEADS_QUEUE)
        count = queue.count()
        queue.try_to_change()
        if count is None:
            return _not_there(Area.QUEUES, name)
        if name == POISON_QUEUE and count:
            remedy = (
                "watch empties this queue every minute; if the number does not fall, see the log of the function watch"
            )
            return note(Area.QUEUES, name, f"holds {counted(count, 'message')} that made the worker fail", remedy)
        return fine(Area.QUEUES, name, "can be read and written")

    def _table(self, name: str) -> Finding:
        table: Table = self.app.storage.table(name)
        exists = table.exists()
        table.try_to_change()
        return fine(Area.TABLES, name, "can be read and written") if exists else _not_there(Area.TABLES, name)

    def _rows(self) -> Iterator[Finding]:
        found: list[tuple[str, UnreadableRow]] = []
        if LEDGER_TABLE in self.readable:
            found += [(LEDGER_TABLE, row) for row in unreadable_rows(self.app.ledger)]
        if CONNECTIONS_TABLE in self.readable:
            found += [(CONNECTIONS_TABLE, row) for row in self.app.connections.unreadable()]
        for (table, what), count in Counter((table, one.what) for table, one in found).items():
            first = next(one.row for name, one in found if (name, one.what) == (table, what))
            says = f"{counted(count, 'row')} ({what}) can't be read by this release, the first is {first}"
            remedy = "deploy the release that wrote them; until then this release skips these rows, and nothing is lost"
            yield wrong(Area.TABLES, table, says, remedy)

    # offers

    def _offers(self) -> Iterator[Finding]:
        if OFFERS_TABLE not in self.readable:
            yield note(Area.OFFERS, "all", "offers can't be read, so offers, secrets and connections were not checked")
            return
        stored, unreadable = self.app.offers.read()
        self.offers += (each.offer for each in stored)
        yield from look_at_offers(self.offers, unreadable)

    def _health(self) -> dict[str, Connection]:
        """The stored health of connections, by id."""
        if CONNECTIONS_TABLE not in self.readable:
            return {}
        return {connection.id: connection for connection in self.app.connections.stored()}

    # the intake, the app itself

    def _intake(self) -> Iterator[Finding]:
        if ALARMS_TABLE not in self.readable:
            return
        last = next((one for one in self.app.empty_bodies.notes() if one.event is Event.BODY_WITHOUT_LENGTH), None)
        if last is None or clock.now() - last.at > CALLS_FOR:
            yield fine(Area.INTAKE, "senders", f"gave each lead a length in the last {CALLS_FOR.days} days")
            return
        says = f"a lead came without a Content-Length at {last.at:%Y-%m-%d %H:%M} UTC, and is lost"
        about = f"sender {last.user_agent}" if last.user_agent else "a sender without a name"
        remedy = "make the sender give a Content-Length, or let a gateway buffer the bodies (docs/how-to/connect.md)"
        if clock.now() - last.at < WITHOUT_LENGTH_FOR:
            yield wrong(Area.INTAKE, about, says, remedy)
        else:
            yield note(Area.INTAKE, about, says, f"{remedy}; if you did that already, do nothing")

    def _release(self) -> Finding:
        """The release that runs. Only a package of `make package` is the tested build."""
        build = this_build()
        if build.packages:
            return fine(
                Area.APP, "release", f"{build}, a package of `make package` with {len(build.packages)} packages"
            )
        if not self.app.settings.host_name:
            return fine(Area.APP, "release", f"{build}, of this machine")
        says = f"{build}, built remotely: another build than the one that was tested"
        return note(Area.APP, "release", says, "publish the package of `make package`")

    def _watch(self) -> Iterator[Finding]:
        if COUNTS_TABLE not in self.readable:
            return
        until = self.app.counts.counted_until()
        remedy = "check that the function app is started and its function watch is enabled, then read the log of watch"
        if until is None:
            yield note(
                Area.APP, "watch", "no run is recorded yet", f"wait 15 minutes after the first start; then {remedy}"
            )
        elif clock.now() - until > WATCH_IS_SILENT:
            yield wrong(Area.APP, "watch", f"has not run since {until:%Y-%m-%d %H:%M} UTC", remedy)
        else:
            yield fine(Area.APP, "watch", f"ran at {until:%Y-%m-%d %H:%M} UTC")

    def _unread(self) -> Iterator[Finding]:
        secrets = {reference.removeprefix("env:") for _, reference in references(self.app.settings, self.offers)}
        known = [info.alias for info in Settings.model_fields.values() if info.alias]
        for name in unread_variables():
            if name not in secrets:
                close = get_close_matches(name, known, n=1, cutoff=0.8)
                remedy = f"did you mean {close[0]}?" if close else "remove it"
                yield note(Area.SETTINGS, name, "the app does not use this variable", remedy)


def _has_endpoints(settings: Settings) -> bool:
    return bool(settings.storage_account_name or (settings.storage_queue_uri and settings.storage_table_uri))


def _split_problem(problem: str) -> tuple[str, str, str]:
    """The name of a wrong setting, what is wrong, and the remedy. `problem` begins with the name."""
    name, _, says = problem.partition(": ")
    return name, says, "correct the setting; until then senders of leads get 503 and no lead is delivered"


def _not_there(area: Area, name: str) -> Finding:
    remedy = (
        "the app creates it at first use; if the app had leads before, check that LeadsStorage is the right account"
    )
    return note(area, name, "does not exist yet", remedy)
