"""Salesforce over its REST API: one lead record for each customer, and a task for each further stage of the journey.

The app creates a record under a key that it can compute again or has stored before. A later stage is stored in one transaction,
completely or not at all, after a query whether the stage exists. So nothing is stored twice.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from leads.core.outcomes import Outcome
from leads.destinations.base import DestinationSettings, MappingValue
from leads.destinations.crm import Crm
from leads.destinations.tokens import Token
from leads.destinations.vendors.salesforce.checks import Checking
from leads.destinations.vendors.salesforce.client import Client, PreviewClient
from leads.destinations.vendors.salesforce.errors import WRONG_ADDRESS, Refusal
from leads.destinations.vendors.salesforce.fields import LeadFields
from leads.destinations.vendors.salesforce.records import DEFAULT_MAPPING
from leads.destinations.vendors.salesforce.sending import Sending
from leads.destinations.vendors.salesforce.settings import SalesforceSettings, id_pattern
from leads.destinations.vendors.salesforce.sign_in import fetch_token


class Salesforce(Crm):
    """Sends leads to a Salesforce organisation."""

    Settings: ClassVar[type[DestinationSettings]] = SalesforceSettings
    replay_warning = (
        "Salesforce already has the record and its tasks. The app writes none twice, unless someone has deleted it."
    )
    settings: SalesforceSettings
    wrong_address = WRONG_ADDRESS
    out_of_reach = "Salesforce did not answer"
    client_class = Client
    preview_class = PreviewClient
    checks_class = Checking
    sending_class = Sending
    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = DEFAULT_MAPPING
    follow_ups: ClassVar[frozenset[str]] = frozenset({"rating", "owner", "task", "campaign"})
    follow_up_ids: ClassVar[Mapping[str, tuple[str, str]]] = {
        "owner": (
            f"user:{id_pattern('005')}|queue:{id_pattern('00G')}",
            "user:ID or queue:ID with the ID as in Salesforce",
        ),
        "campaign": (id_pattern("701"), "the campaign's ID as in Salesforce"),
    }

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, SalesforceSettings)  # noqa: S101
        credential = (settings.client_id, settings.client_secret, settings.username, settings.private_key)
        return (settings.url.lower(), *(part or "" for part in credential), settings.audience)

    @classmethod
    def check_mapping(cls, name: str, value: MappingValue) -> None:
        super().check_mapping(name, value)
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            raise ValueError("is not a lead field: write its API name, such as Offer__c")

    def fetch_token(self) -> Token:
        return fetch_token(self.settings, self.context, self.http)

    @property
    def fields(self) -> LeadFields:
        """The organisation's lead fields, as far as this instance knows them."""
        return self.context.shared(("salesforce fields", self.connection), LeadFields)

    def record_link(self, record_id: str) -> str:
        return f"{self.settings.url}/{record_id}"

    def outcome_of(self, failure: Exception) -> Outcome:
        of_key = isinstance(failure, Refusal) and failure.of_key
        return replace(super().outcome_of(failure), key_refused=of_key)


destination = Salesforce
