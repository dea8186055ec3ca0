"""HubSpot: one contact for each e-mail address, and a note for each stage of the journey.

HubSpot has no idempotency key. HubSpot refuses a second contact with the same e-mail address, and the app recognises its notes
and tasks by the lead's ID in their text.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Final

from leads.core import clock
from leads.core.outcomes import Outcome, Rejected, Skipped
from leads.destinations.base import DestinationSettings, MappingValue, OutgoingLead
from leads.destinations.crm import Crm
from leads.destinations.tokens import Token
from leads.destinations.vendor_errors import VendorError
from leads.destinations.vendors.hubspot.checks import Checking
from leads.destinations.vendors.hubspot.client import Client, PreviewClient
from leads.destinations.vendors.hubspot.errors import FORGOTTEN, WRONG_ADDRESS
from leads.destinations.vendors.hubspot.sending import Sending
from leads.destinations.vendors.hubspot.settings import HubSpotSettings

_SECRET_KEPT: Final = timedelta(hours=1)
"""The app reads the service key again after this time, or when HubSpot refuses the key."""


class HubSpot(Crm):
    """Sends leads to a HubSpot account."""

    Settings: ClassVar[type[DestinationSettings]] = HubSpotSettings
    replay_warning = (
        "HubSpot already has the contact and its note. The app writes neither twice, unless someone has deleted it."
    )
    settings: HubSpotSettings
    wrong_address = WRONG_ADDRESS
    out_of_reach = "HubSpot did not answer"
    client_class = Client
    preview_class = PreviewClient
    checks_class = Checking
    sending_class = Sending
    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = {
        "email": "{email}",
        "firstname": "{first_name}",
        "lastname": "{last_name}",
        "phone": "{phone}",
        "company": "{company}",
        "jobtitle": "{title}",
        "country": "{country_name}",
    }
    follow_ups: ClassVar[frozenset[str]] = frozenset({"rating", "owner", "task", "list"})
    follow_up_ids: ClassVar[Mapping[str, tuple[str, str]]] = {
        "owner": ("[1-9][0-9]{0,19}", "the owner's ID as in HubSpot, a number (an owner's ID is not a user's)"),
        "list": ("[1-9][0-9]{0,19}", "the ID of a static list, a number"),
    }

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, HubSpotSettings)  # noqa: S101
        return (settings.url.lower(), settings.service_key)

    def record_scope(self, offer: str, name: str) -> str:  # noqa: ARG002 - contacts are the account's, whatever the offer
        return f"hubspot|{self.connection}"

    def fetch_token(self) -> Token:
        return Token(self.context.secrets.read(self.settings.service_key), clock.now() + _SECRET_KEPT)

    def unfit(self, outgoing: OutgoingLead) -> Rejected | None:
        words = "The lead has no e-mail address, by which HubSpot identifies contacts."
        return None if outgoing.lead.email else Rejected(words, "email")

    def outcome_of(self, failure: Exception) -> Outcome:
        if isinstance(failure, VendorError) and failure.problem.code == FORGOTTEN:
            return Skipped(failure.problem.words, FORGOTTEN)
        return super().outcome_of(failure)


destination = HubSpot
