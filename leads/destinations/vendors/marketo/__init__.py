"""Marketo: one person for each customer, which the app creates and updates directly or by filling out a form.

All workers of the app together keep the rate limit that Adobe advises: 50 calls in 20 seconds, 5 at once.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar, Final

from leads.core.outcomes import Rejected
from leads.destinations.base import Customer, DestinationSettings, MappingValue, OutgoingLead
from leads.destinations.crm import Crm
from leads.destinations.rate_limiter import ALLOWANCES_TABLE, RateLimit, RateLimiter
from leads.destinations.tokens import Token
from leads.destinations.vendors.marketo.checks import Checking
from leads.destinations.vendors.marketo.client import Client, LimitedClient, PreviewClient
from leads.destinations.vendors.marketo.errors import WRONG_ADDRESS
from leads.destinations.vendors.marketo.fields import AssumedFields, FieldCache
from leads.destinations.vendors.marketo.records import DEFAULT_MAPPING, unfit_email
from leads.destinations.vendors.marketo.sending import Sending, SubmitForm, SyncLead
from leads.destinations.vendors.marketo.settings import MarketoSettings
from leads.destinations.vendors.marketo.sign_in import fetch_token

RATE_LIMIT: Final = RateLimit(at_once=5, calls=50, seconds=20.0, longest_call=90.0)
"""Half of an instance's limit, because the instance has other integrations too. Marketo ends a call after 90 seconds.

Source: Adobe Marketo Engage Developer Guide, "Marketo Integration Best Practices".
"""

TURN_SECONDS: Final = 60.0
"""Seconds that a lead waits for a slot before it goes back to the queue."""
CHECK_TURN_SECONDS: Final = 20.0


class Marketo(Crm):
    """Sends leads to a Marketo instance."""

    Settings: ClassVar[type[DestinationSettings]] = MarketoSettings
    replay_warning = (
        "The app updates the same person. With form_id, it fills out the form again, which can start campaigns again."
    )
    settings: MarketoSettings
    wrong_address = WRONG_ADDRESS
    out_of_reach = "the instance did not answer"
    addresses = "munchkin_id and endpoint"
    renewed_before = timedelta(0)
    client_class = Client
    preview_class = PreviewClient
    checks_class = Checking
    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = DEFAULT_MAPPING
    follow_ups: ClassVar[frozenset[str]] = frozenset({"rating", "list"})
    follow_up_ids: ClassVar[Mapping[str, tuple[str, str]]] = {
        "list": ("[1-9][0-9]{0,9}", "the static list's ID, a number")
    }

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, MarketoSettings)  # noqa: S101
        return (settings.url.lower(), settings.client_id, settings.client_secret)

    def record_scope(self, offer: str, name: str) -> str:  # noqa: ARG002 - persons are the instance's, whatever the offer
        return f"marketo|{self.settings.instance}"

    @property
    def idempotent(self) -> bool:
        return self.settings.form_id is None

    def fetch_token(self) -> Token:
        return fetch_token(self.settings, self.context, self.http)

    @property
    def limiter(self) -> RateLimiter:
        """The rate limiter of the instance, shared by all its connections."""
        instance = self.settings.instance
        table = self.context.storage.table(ALLOWANCES_TABLE)
        return self.context.shared(
            ("marketo limiter", instance), lambda: RateLimiter(table, f"marketo;{instance}", RATE_LIMIT)
        )

    @property
    def known(self) -> FieldCache:
        return self.context.shared(("marketo fields", self.connection), FieldCache)

    @contextmanager
    def connected(self, *, checking: bool = False) -> Iterator[Client]:
        self.tokens.get()  # before the slot is taken, so that no other lead waits for the sign-in
        with self.limiter.slot(CHECK_TURN_SECONDS if checking else TURN_SECONDS) as slot:
            yield LimitedClient(self.settings.url, self.http, self.tokens, slot)

    def unfit(self, outgoing: OutgoingLead) -> Rejected | None:
        reason = unfit_email(outgoing.lead.email)
        return Rejected(reason, "email") if reason else None

    def sending(self, client: Any, outgoing: OutgoingLead, customer: Customer) -> Sending:
        known = self._assumed_fields() if isinstance(client, PreviewClient) else self.known
        kind = SubmitForm if self.settings.form_id else SyncLead
        return kind(self, client, outgoing, customer, known)

    def _assumed_fields(self) -> AssumedFields:
        names = [*self.mapping, *filter(None, [self.settings.rating_field])]
        return AssumedFields(names, filter(None, [self.settings.journey_field]))


destination = Marketo
