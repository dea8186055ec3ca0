"""Marketo: one person for each customer, created and updated directly, or by filling out a form.

Calls keep to what Adobe advises for an instance, 50 in 20 seconds and 5 at once, over all workers of the app.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final

from leads.core.outcomes import Outcome, Rejected, Retry
from leads.destinations.base import (
    CheckResult,
    Customer,
    Destination,
    DestinationSettings,
    MappingValue,
    NotSendable,
    OutgoingLead,
    PreviewedRequest,
)
from leads.destinations.http import Failure
from leads.destinations.limits import ALLOWANCES_TABLE, RateLimit, RateLimited, RateLimiter, Slot
from leads.destinations.tokens import TokenSource
from leads.destinations.vendor_errors import (
    FAILURES,
    UNREADABLE,
    ErrorKind,
    VendorError,
    check_of,
    check_result,
    outcome_of,
    unless_gone,
)
from leads.destinations.vendors.marketo.client import Client
from leads.destinations.vendors.marketo.errors import NO_TURN, WRONG_ADDRESS
from leads.destinations.vendors.marketo.preview import AssumedFields, PreviewClient
from leads.destinations.vendors.marketo.records import DEFAULT_MAPPING, unfit_email
from leads.destinations.vendors.marketo.sending import Known, Sending, SubmitForm, SyncLead
from leads.destinations.vendors.marketo.settings import MarketoSettings
from leads.destinations.vendors.marketo.sign_in import token_source
from leads.platform.once import once

RATE_LIMIT: Final = RateLimit(at_once=5, calls=50, seconds=20.0, longest_call=90.0)
"""50 calls in 20 seconds, 5 at once: half of what an instance takes, for it has other integrations, too (Adobe Marketo Engage
Developer Guide, "Marketo Integration Best Practices"). Marketo ends a call after 90 seconds."""

TURN_SECONDS: Final = 60.0
"""How long a lead waits for its first call before it goes back to the queue."""
CHECK_TURN_SECONDS: Final = 20.0


class Marketo(Destination):
    """See the module."""

    Settings: ClassVar[type[DestinationSettings]] = MarketoSettings
    replay_warning = (
        "The person stays one. Where a form is filled out, it is filled out once more, which can start campaigns again."
    )
    settings: MarketoSettings
    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = DEFAULT_MAPPING
    follow_ups: ClassVar[frozenset[str]] = frozenset({"rating", "list"})
    follow_up_ids: ClassVar[Mapping[str, tuple[str, str]]] = {
        "list": ("[1-9][0-9]{0,9}", "the static list's ID, a number")
    }

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, MarketoSettings)  # noqa: S101
        return (settings.base_url.lower(), settings.client_id, settings.client_secret)

    def record_scope(self, offer: str, name: str) -> str:  # noqa: ARG002 - persons are the instance's, whatever the offer
        return f"marketo|{self.settings.instance}"

    @property
    def idempotent(self) -> bool:
        return self.settings.form_id is None

    @once
    def tokens(self) -> TokenSource:
        return token_source(self.settings, self.context, self.http)

    @property
    def limiter(self) -> RateLimiter:
        """One for the instance, whichever connection its calls go by."""
        instance = self.settings.instance
        table = self.context.storage.table(ALLOWANCES_TABLE)
        return self.context.shared(
            ("marketo limiter", instance), lambda: RateLimiter(table, f"marketo;{instance}", RATE_LIMIT)
        )

    @property
    def known(self) -> Known:
        return self.context.shared(("marketo fields", self.connection), Known)

    def client(self, slot: Slot) -> Client:
        return Client(self.settings.base_url, self.http, self.tokens, slot)

    def check(self) -> CheckResult:
        """Sign in, and look whether the right, fields, form and lists that leads need are there."""
        try:
            self.tokens.get()
            with self.limiter.slot(CHECK_TURN_SECONDS) as slot:
                checking = _Checking(self, self.client(slot))
                return check_of(checking.needed, checking.extras, _judged)
        except RateLimited:
            return CheckResult(
                ok=False, problem="too many calls are waiting for their turn", code=NO_TURN, transient=True
            )
        except FAILURES as error:
            return _judged(error)

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        if reason := unfit_email(outgoing.lead.email):
            return Rejected(reason, "email")
        try:
            self.tokens.get()  # before a slot is held, which others wait for
            with self.limiter.slot(TURN_SECONDS) as slot:
                return self._sending(self.known, self.client(slot), outgoing, customer).run()
        except RateLimited:
            return Retry(NO_TURN, ours=True)
        except FAILURES as error:
            return outcome_of(error, WRONG_ADDRESS)

    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        if reason := unfit_email(outgoing.lead.email):
            raise NotSendable(reason)
        client = PreviewClient(self.settings.base_url)
        names = [*self.mapping, *filter(None, [self.settings.rating_field])]
        known = AssumedFields(names, filter(None, [self.settings.journey_field]))
        self._sending(known, client, outgoing, customer).run()
        return client.requests

    def _sending(self, known: Known, client: Client, outgoing: OutgoingLead, customer: Customer) -> Sending:
        common: Any = (self.settings, self.mapping, known, client, outgoing, customer)
        form_id = self.settings.form_id
        return SubmitForm(form_id, *common) if form_id else SyncLead(*common)


destination = Marketo


def _judged(failure: Exception) -> CheckResult:
    found = check_result(outcome_of(failure, WRONG_ADDRESS), "the instance did not answer")
    if found.code == UNREADABLE.code:
        return CheckResult(ok=False, problem=WRONG_ADDRESS, code=found.code)
    # Whether the name is wrong or only the name service out of order can't be told apart.
    return replace(found, problem=WRONG_ADDRESS) if found.code == Failure.NO_SUCH_HOST else found


class _Checking:
    """What leads need of the instance, asked anew, and what else is asked for."""

    def __init__(self, marketo: Marketo, client: Client) -> None:
        self._settings = marketo.settings
        self._mapping = marketo.mapping
        self._follow_up = marketo.follow_up
        self._known = marketo.known
        self._client = client

    @property
    def needed(self) -> list[Callable[[], str]]:
        return [self._missing_right, self._missing_fields, self._missing_form]

    @property
    def extras(self) -> list[Callable[[], str]]:
        wanted = {"static_list": str(self._settings.static_list or "")}
        wanted |= {f"follow_up.{stage}.list": follow_up.list for stage, follow_up in self._follow_up.items()}
        return [partial(self._missing_list, setting, list_id) for setting, list_id in wanted.items() if list_id]

    def _missing_right(self) -> str:
        self._known.forget()
        try:
            self._client.may_write()
        except VendorError as refused:
            # Anything else that is said of an empty request is said after the right was looked at.
            if refused.problem.kind in {ErrorKind.SETTINGS, ErrorKind.SIGN_IN_AGAIN, ErrorKind.TRANSIENT}:
                raise
        return ""

    def _missing_fields(self) -> str:
        fields = self._known.fields(self._client).by_name
        for setting, name in self._named_fields().items():
            if setting != "rating_field" and not self._was_asked_for(setting, name):
                continue  # it is left out where the instance does not take it
            if name not in fields:
                return f"{setting}: Marketo has no field of this name; enter its API name (Admin > Field Management)."
            if fields[name].read_only:
                return f"{setting}: Marketo sets this field itself; take it out."
        journey = self._settings.journey_field
        if journey and not fields[journey].is_text:
            return "journey_field: is no text; make a field of type Text Area for it."
        return ""

    def _named_fields(self) -> dict[str, str]:
        """Every setting that names a field, and the field."""
        named = {f"mapping.{name}": name for name in self._mapping}
        for setting in ("journey_field", "rating_field"):
            if name := getattr(self._settings, setting):
                named[setting] = name
        return named

    def _missing_form(self) -> str:
        form_id = self._settings.form_id
        if form_id is None:
            return ""
        found = self._found(f"/rest/asset/v1/form/{form_id}.json")
        if not found:
            return "form_id: Marketo has no form with this ID."
        if str(found[0].get("status", "")).lower() == "draft":
            return "form_id: the form was never approved: approve it in Marketo."
        on_form = self._known.form(self._client, form_id)
        if "email" not in on_form:
            return "form_id: the form has no field for the e-mail address, by which persons are told apart: add it."
        for setting, name in self._named_fields().items():
            if self._was_asked_for(setting, name) and name not in on_form:
                return f"{setting}: the form has no such field; add it to the form, perhaps as a hidden one, or take it out."
        return ""

    def _was_asked_for(self, setting: str, name: str) -> bool:
        """Whether somebody has entered it: what stands there by default may be missing on a form."""
        if setting == "rating_field":
            return name != "rating"
        return setting == "journey_field" or self._mapping[name] != DEFAULT_MAPPING.get(name)

    def _missing_list(self, setting: str, list_id: str) -> str:
        found = self._found(f"/rest/v1/lists/{list_id}.json")
        return "" if found else f"{setting}: Marketo has no static list with this ID."

    def _found(self, path: str) -> list[dict[str, Any]]:
        return unless_gone(partial(self._client.get, path)) or []
