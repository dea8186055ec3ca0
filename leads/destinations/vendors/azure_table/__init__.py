"""Azure Table: the `MarketplaceLeads` table in the form of Microsoft's own connector, one row per lead.

The columns are those of the connector's rows (sources: public receivers, and issues of the marketplace documentation; Microsoft
publishes no list), plus one column per customer field, so that readers need not parse `CustomerInfo`.
"""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Final

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.data.tables import TableClient
from pydantic import Field, field_validator, model_validator

from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry
from leads.destinations.azure_hosts import is_azure_table_address
from leads.destinations.base import (
    MASK,
    CheckResult,
    Context,
    Customer,
    Destination,
    DestinationSettings,
    OutgoingLead,
    PreviewedRequest,
)
from leads.destinations.vendor_errors import check_result, outcome_of
from leads.destinations.vendors.azure_table.errors import classify, error_code
from leads.destinations.vendors.azure_table.rows import partition_of, to_entity
from leads.platform.azure_transport import BoundedTransport
from leads.platform.libraries import is_unanswered
from leads.platform.settings import CONNECTION_STRING, OptionalSecret, Settings, SettingsError
from leads.platform.storage import TABLE_TIMEOUTS, make_table, raising_the_cause, table_client
from leads.platform.storage_accounts import account_of, has_same_host

OWN_CONNECTION_STRING: Final = "env:LeadsStorage"
"""The app's own account, as offers of earlier releases name it. The app reads this value as "no account set"."""
ALREADY_THERE = "EntityAlreadyExists"
"""The only conflict that proves that the lead is in the table. Another conflict is `TableBeingDeleted`."""
TABLE_IS_MISSING = "TableNotFound"
CONTENT_TYPE = "application/json;odata=nometadata"


class AzureTableSettings(DestinationSettings):
    """The table and its storage account. Without an account, leads go to the app's own storage account."""

    table: str = Field(
        "MarketplaceLeads",
        title="Table",
        pattern="^[A-Za-z][A-Za-z0-9]{2,62}$",
        description="The table's name, 3 to 63 letters and digits. The app creates a missing table.",
    )
    connection_string: OptionalSecret = Field(
        None,
        title="Storage account connection string",
        description="Another account, by a reference to its connection string (env:LEADS_SECRET_NAME or keyvault:NAME).",
    )
    table_service_uri: str | None = Field(
        None,
        title="Table service URI",
        pattern="^https://[^/]+/?$",
        description="Another account by the app's own identity: https://ACCOUNT.table.core.windows.net.",
    )

    @field_validator("connection_string")
    @classmethod
    def _own_account_has_no_reference(cls, reference: str | None) -> str | None:
        return None if reference == OWN_CONNECTION_STRING else reference

    @model_validator(mode="after")
    def _one_account(self) -> "AzureTableSettings":
        if self.connection_string and self.table_service_uri:
            raise ValueError("connection_string: set connection_string or table_service_uri, but not both")
        return self


class AzureTable(Destination):
    """Creates a row per lead, with the lead's ID as its key. A repeated request finds the row and writes nothing."""

    Settings: ClassVar[type[DestinationSettings]] = AzureTableSettings
    replay_warning = "The table already has the row. The app does not write it twice."
    settings: AzureTableSettings

    def __init__(self, settings: AzureTableSettings, context: Context) -> None:
        super().__init__(settings, context)
        self._made: tuple[str, TableClient] | None = None

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, AzureTableSettings)  # noqa: S101
        return (settings.table.lower(), settings.connection_string or "", settings.table_service_uri or "")

    def check(self) -> CheckResult:
        try:
            next(iter(self.client().query_entities("PartitionKey eq ''", results_per_page=1)), None)
        except SettingsError as error:
            return check_result(outcome_of(error, ""), str(error))
        except AzureError as error:
            if isinstance(error, ResourceNotFoundError) and error_code(error) == TABLE_IS_MISSING:
                return CheckResult(ok=True)  # the first lead creates the table
            return self.problem_with(error)
        return CheckResult(ok=True)

    def problem_with(self, error: AzureError) -> CheckResult:
        """The result of a check or an import whose request failed."""
        outcome = self._classify(error)
        return check_result(outcome, f"storage did not answer ({outcome.code})")

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        try:
            client = self.client()
            entity = to_entity(outgoing, customer)
            with raising_the_cause():
                try:
                    client.create_entity(entity)
                except ResourceNotFoundError:
                    make_table(client)
                    client.create_entity(entity)
        except SettingsError as error:
            return outcome_of(error, "")
        except AzureError as error:
            if isinstance(error, HttpResponseError) and error_code(error) == ALREADY_THERE:
                return Delivered(outgoing.lead_id, ALREADY_THERE)
            outcome = self._classify(error)
            if isinstance(outcome, Retry) and is_unanswered(error) and self._is_in_own_account():
                return replace(outcome, ours=True)
            return outcome
        return Delivered(outgoing.lead_id, "created")

    def record_place(self, record_id: str, received_at: datetime) -> str:
        return f"table {self.settings.table}, PartitionKey {partition_of(received_at)}, RowKey {record_id}"

    def remove_own_record(self, record_id: str, received_at: datetime, *, dry_run: bool = False) -> bool:
        if not self._is_in_own_account():
            return False
        keys = {"PartitionKey": partition_of(received_at), "RowKey": record_id}
        if not dry_run:
            self.context.storage.table(self.settings.table).write([("delete", keys, {})])
        return True

    def _is_in_own_account(self) -> bool:
        """Whether the account is the app's own, by whichever setting. False for an account that can't be determined."""
        if not (self.settings.connection_string or self.settings.table_service_uri):
            return True
        try:
            table = self.client().url
        except SettingsError:
            return False
        return account_of(table) == account_of(self.context.storage.table(self.settings.table).client.url)

    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        reference = self.settings.connection_string
        address = f"({reference})" if reference else self.client().url  # the account's name is a part of the secret
        scheme = "SharedKey" if reference or self._connection_string() else "Bearer"
        headers = {"Content-Type": CONTENT_TYPE, "Authorization": f"{scheme} {MASK}"}
        return [PreviewedRequest("POST", f"{address}/{self.settings.table}", headers, to_entity(outgoing, customer))]

    def client(self) -> TableClient:
        """The client for the secret's present value. A rotated connection string makes a new client."""
        connection_string = self._connection_string()
        if self._made is None or self._made[0] != connection_string:
            self._made = (connection_string, self._build(connection_string))
        return self._made[1]

    def _connection_string(self) -> str:
        if reference := self.settings.connection_string:
            return _unwrapped(self.context.secrets.read(reference), reference)
        return "" if self.settings.table_service_uri else self.context.settings.storage_connection_string

    def _build(self, connection_string: str) -> TableClient:
        app: Settings = self.context.settings
        # The app retries the lead by its schedule and knows the connection's health, so that one quick retry is enough here.
        # The client must not retry after a status, because it would sleep for a Retry-After of any length.
        transport = BoundedTransport(app.connection_slots, TABLE_TIMEOUTS, app.allowed_networks)
        options: dict[str, Any] = {"retry_total": 1, "retry_status": 0, "transport": transport}
        if connection_string:
            try:
                client = table_client(self.settings.table, connection_string=connection_string, **options)
            except ValueError:
                raise SettingsError(
                    f"{self.settings.connection_string} does not hold a storage connection string."
                ) from None
        else:
            endpoint = self._for_the_identity()
            client = table_client(self.settings.table, endpoint=endpoint, credential=app.credential, **options)
        if has_same_host(client.url, self.context.storage.table(self.settings.table).client.url):
            transport.trust(client.url)
        return client

    def _for_the_identity(self) -> str:
        """The account's address. Raises `SettingsError` for a host that must not get the token of the app's identity."""
        app, uri = self.context.settings, self.settings.table_service_uri
        if not uri:
            return app.table_endpoint
        if uri.rstrip("/").lower() != app.storage_table_uri.rstrip("/").lower() and not is_azure_table_address(uri):
            raise SettingsError(
                "table_service_uri: the app sends its identity's token only to Azure's own table hosts, such as "
                "https://ACCOUNT.table.core.windows.net; use connection_string for other hosts"
            )
        return uri

    def _classify(self, error: AzureError) -> Misconfigured | Retry | Rejected:
        return classify(error, self._made[0] if self._made else "")


destination = AzureTable


def _unwrapped(secret: str, reference: str) -> str:
    """The connection string, also from the JSON in which the publishing portal of 2017 wrapped it.

    Raises `SettingsError` for any other text, because an empty string would mean the app's own account.
    """
    text: object = secret
    if secret.lstrip().startswith("{"):
        try:
            text = json.loads(secret)["connectionString"]
        except (ValueError, KeyError):
            text = ""
    if not isinstance(text, str) or not CONNECTION_STRING.fullmatch(text.strip()):
        raise SettingsError(f"{reference} does not hold a storage connection string.")
    return text.strip()
