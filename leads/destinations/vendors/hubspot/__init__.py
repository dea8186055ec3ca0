"""HubSpot: one contact for each e-mail address, and a note for each stage of the journey.

HubSpot takes no key by which it would know a second try. But it refuses a second contact with the same e-mail address, and notes
and tasks that are there already are told by the lead's id in them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from leads.core.lead import Stage
from leads.core.outcomes import Outcome, Skipped
from leads.destinations.base import Customer, DestinationSettings, MappingValue, OutgoingLead
from leads.destinations.crm import Crm
from leads.destinations.follow_up import FollowUp
from leads.destinations.mapping import is_template
from leads.destinations.tokens import TokenSource
from leads.destinations.vendor_errors import VendorError, unless_gone
from leads.destinations.vendors.hubspot.client import LISTS, VERSION, Client, PreviewClient
from leads.destinations.vendors.hubspot.errors import FORGOTTEN, WRONG_ADDRESS
from leads.destinations.vendors.hubspot.sending import Sending
from leads.destinations.vendors.hubspot.settings import HubSpotSettings

_SCOPES: Final = ("crm.objects.contacts.read", "crm.objects.contacts.write")


class HubSpot(Crm):
    """See the module."""

    Settings: ClassVar[type[DestinationSettings]] = HubSpotSettings
    replay_warning = (
        "HubSpot has the contact and its note already: nothing is written twice, unless people have deleted it."
    )
    settings: HubSpotSettings
    wrong_address = WRONG_ADDRESS
    out_of_reach = "HubSpot did not answer"
    client_class = Client
    preview_class = PreviewClient
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
        return (settings.base_url.lower(), settings.service_key)

    def record_scope(self, offer: str, name: str) -> str:  # noqa: ARG002 - contacts are the account's, whatever the offer
        return f"hubspot|{self.connection}"

    def token_source(self) -> TokenSource:
        key = ("token", *self.connection_key(self.settings))
        return self.context.shared(key, lambda: TokenSource.of_secret(self.context.secrets, self.settings.service_key))

    def sending(self, client: Any, outgoing: OutgoingLead, customer: Customer) -> Sending:
        return Sending(self.settings, self.mapping, client, outgoing, customer)

    def outcome_of(self, failure: Exception) -> Outcome:
        if isinstance(failure, VendorError) and failure.problem.code == FORGOTTEN:
            return Skipped(failure.problem.words, FORGOTTEN)
        return super().outcome_of(failure)

    def parts_of_check(self) -> tuple[Sequence[Callable[[], str]], Sequence[Callable[[], str]]]:
        targets = [partial(self._wrong_target, stage, wanted) for stage, wanted in self.follow_up.items()]
        return (self._missing_scopes, self._wrong_property), targets

    def _missing_scopes(self) -> str:
        self.client.get_json(f"/account-info/{VERSION}/details")  # any token may
        told = unless_gone(self.client.scopes)  # this address has no version, and may not stay
        missing = [scope for scope in _SCOPES if told is not None and scope not in told]
        return f"The service key lacks a scope: add {', '.join(missing)} to it." if missing else ""

    def _wrong_property(self) -> str:
        known = self.client.properties(self.mapping)
        problems = ((name, _property(value, known.get(name))) for name, value in self.mapping.items())
        return next((f"mapping.{name}: {problem}" for name, problem in problems if problem), "")

    def _wrong_target(self, stage: Stage, wanted: FollowUp) -> str:
        get = self.client.get_json
        if wanted.owner and unless_gone(lambda: get(f"/crm/owners/{VERSION}/{wanted.owner}")) is None:
            return f"follow_up.{stage}.owner: HubSpot has no owner with this ID."
        found = unless_gone(lambda: get(f"{LISTS}/{wanted.list}")) if wanted.list else {}
        if found is None:
            return f"follow_up.{stage}.list: HubSpot has no list with this ID."
        if (found.get("list") or found).get("processingType") == "DYNAMIC":
            return f"follow_up.{stage}.list: the list fills itself: name a static one."
        return ""


destination = HubSpot


def _property(value: MappingValue, known: Mapping[str, Any] | None) -> str:
    """What is wrong with one property of the mapping, "" if nothing is."""
    if known is None:
        return "HubSpot has no contact property of this name; take it out of the mapping, or make it."
    if (known.get("modificationMetadata") or {}).get("readOnlyValue"):
        return "HubSpot sets this property itself; take it out of the mapping."
    options = [str(option.get("value")) for option in known.get("options") or []]
    if options and not is_template(value) and str(value) not in options:
        return f"is none of the property's options: {', '.join(options[:20])}."
    return ""
