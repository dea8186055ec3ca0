"""Dynamics 365 / Dataverse: one lead record for each customer, and a note for each stage of the journey.

The app computes the IDs of a record and of a stage's notes, tasks and queue items from the customer and the lead. A create-only
request with such an ID stores nothing twice. One change set stores all parts of a stage, or none.
"""

from collections.abc import Mapping
from typing import ClassVar

from leads.destinations.base import DestinationSettings, MappingValue
from leads.destinations.crm import Crm
from leads.destinations.mapping import names_in
from leads.destinations.tokens import Token
from leads.destinations.vendors.dataverse.checks import Checking
from leads.destinations.vendors.dataverse.client import Client, PreviewClient
from leads.destinations.vendors.dataverse.columns import Lengths
from leads.destinations.vendors.dataverse.errors import WRONG_ADDRESS
from leads.destinations.vendors.dataverse.records import BIND, DEFAULT_MAPPING
from leads.destinations.vendors.dataverse.sending import Sending
from leads.destinations.vendors.dataverse.settings import GUID, DataverseSettings
from leads.destinations.vendors.dataverse.sign_in import fetch_token


class Dataverse(Crm):
    """Sends leads to a Dataverse environment."""

    Settings: ClassVar[type[DestinationSettings]] = DataverseSettings
    replay_warning = (
        "Dynamics 365 already has the record and its notes. The app writes none twice, unless someone has deleted it."
    )
    settings: DataverseSettings
    wrong_address = WRONG_ADDRESS
    out_of_reach = "the environment, or its sign-in, did not answer"
    addresses = "url, and authority if it is set"
    client_class = Client
    preview_class = PreviewClient
    checks_class = Checking
    sending_class = Sending
    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = DEFAULT_MAPPING
    follow_ups: ClassVar[frozenset[str]] = frozenset({"rating", "owner", "queue", "task", "campaign"})
    follow_up_ids: ClassVar[Mapping[str, tuple[str, str]]] = {
        "owner": (f"(user|team):{GUID}", "user:ID or team:ID with the ID as in Dynamics"),
        "queue": (GUID, "the queue's ID as in Dynamics"),
        "campaign": (GUID, "the campaign's ID as in Dynamics"),
    }

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, DataverseSettings)  # noqa: S101
        credential = (settings.tenant_id, settings.client_id, settings.client_secret)
        return (settings.url.lower(), settings.authority.lower(), *(part or "" for part in credential))

    @classmethod
    def check_mapping(cls, name: str, value: MappingValue) -> None:
        if not name.endswith(BIND) or value is None:
            return
        # The value is an address, which must not contain text of a customer.
        if not isinstance(value, str) or not value.startswith("/") or names_in(value):
            words = "write the address of one record, such as /campaigns(ID), without fields of the lead"
            raise ValueError(f"is a lookup: {words}")

    def fetch_token(self) -> Token:
        return fetch_token(self.settings, self.context, self.http)

    @property
    def lengths(self) -> Lengths:
        """The lengths of the environment's columns, as far as this instance knows them."""
        return self.context.shared(("dataverse lengths", self.connection), Lengths)

    def record_link(self, record_id: str) -> str:
        return f"{self.settings.url}/main.aspx?pagetype=entityrecord&etn=lead&id={record_id}"


destination = Dataverse
