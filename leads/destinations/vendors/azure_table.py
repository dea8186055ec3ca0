"""Azure Table: the `MarketplaceLeads` table as Microsoft's own connector writes it, one row per lead.

The columns are the ones that rows of that connector have (public receivers and issues of the marketplace documentation; there
is no official list), plus one column per customer field, so that nobody has to take `CustomerInfo` apart.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.data.tables import TableClient
from pydantic import Field, field_validator, model_validator

from leads.core import clock
from leads.core.lead import Lead
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
from leads.platform.address_guard import HandshakeFailed, causes
from leads.platform.azure_transport import BoundedTransport, NotAllowed
from leads.platform.libraries import is_unanswered
from leads.platform.secrets import signed_until
from leads.platform.settings import CONNECTION_STRING, OptionalSecret, Settings, SettingsError
from leads.platform.storage import TABLE_TIMEOUTS, make_table, saying_why, table_client
from leads.platform.storage_accounts import account_of, has_same_host
from leads.platform.table_format import joined_text, text_columns

CREATED_TIME_FORMAT = "%m/%d/%Y %H:%M:%S"
OWN_CONNECTION_STRING: Final = "env:LeadsStorage"
"""Offers of earlier releases name the app's own account so. It is no secret of an offer's, and is not read as one."""
MAX_ENTITY_CHARACTERS = 480_000
"""An entity holds 1 MiB and a character takes two bytes of it; the rest is left for names and keys."""

ALREADY_THERE = "EntityAlreadyExists"
"""The one conflict that proves that the lead is in the table; another is `TableBeingDeleted`."""
TABLE_IS_MISSING = "TableNotFound"
CONTENT_TYPE = "application/json;odata=nometadata"
_CODE = re.compile(r'(?:"code" *: *"|<(?:\w+:)?code>)(\w{1,64})', re.IGNORECASE)

_FORBIDDEN_HINTS = {
    "AuthorizationFailure": "the account's network rules or shared-key setting refuse this app",
    "AuthorizationPermissionMismatch": "give the app's identity the role Storage Table Data Contributor on the account",
    "InsufficientAccountPermissions": "the credential may not write to tables",
    "AccountIsDisabled": "the storage account is disabled",
    "KeyBasedAuthenticationNotPermitted": "the account does not allow keys: use table_service_uri and the app's identity",
}
"""Error codes of the Table service that say that no lead can be written (Microsoft Learn, "Common REST API error codes" and
"Table service error codes"). `_not_authenticated` has the words for one more."""

_LEAD_ERRORS = {
    "PropertyValueTooLarge",
    "EntityTooLarge",
    "TooManyProperties",
    "InvalidInput",
    "OutOfRangeInput",
    "RequestBodyTooLarge",
}


class AzureTableSettings(DestinationSettings):
    """Which table. Without an account the leads go to the app's own storage account."""

    table: str = Field(
        "MarketplaceLeads",
        title="Table",
        pattern="^[A-Za-z][A-Za-z0-9]{2,62}$",
        description="The table's name, 3 to 63 letters and digits; it is made if it is missing.",
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
            raise ValueError(
                "connection_string: leave it out, or leave out table_service_uri; an account is named once"
            )
        return self


class AzureTable(Destination):
    """Writes each lead under its own key, create-only, so that a second try finds the row instead of making one."""

    Settings: ClassVar[type[DestinationSettings]] = AzureTableSettings
    replay_warning = "The table keeps the row that it has: nothing is written twice."
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
            if isinstance(error, ResourceNotFoundError) and _error_code(error) == TABLE_IS_MISSING:
                return CheckResult(ok=True)  # the table is made with the first lead
            return self.problem_with(error)
        return CheckResult(ok=True)

    def problem_with(self, error: AzureError) -> CheckResult:
        """What a failed request says of the connection."""
        outcome = self._classify(error)
        reason = "" if isinstance(outcome, Retry) else outcome.reason
        problem = reason or f"storage did not answer ({outcome.code})"
        return CheckResult(ok=False, problem=problem, code=outcome.code, transient=isinstance(outcome, Retry))

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        try:
            client = self.client()
            entity = to_entity(outgoing, customer)
            with saying_why():
                try:
                    client.create_entity(entity)
                except ResourceNotFoundError:
                    make_table(client)
                    client.create_entity(entity)
        except SettingsError as error:
            return outcome_of(error, "")
        except AzureError as error:
            if isinstance(error, HttpResponseError) and _error_code(error) == ALREADY_THERE:
                return Delivered(outgoing.lead_id, ALREADY_THERE)
            outcome = self._classify(error)
            if isinstance(outcome, Retry) and is_unanswered(error) and self._is_in_own_account():
                return replace(outcome, ours=True)
            return outcome
        return Delivered(outgoing.lead_id, "created")

    def record_place(self, record_id: str, received_at: datetime) -> str:
        return f"table {self.settings.table}, PartitionKey {_partition(received_at)}, RowKey {record_id}"

    def remove_own_record(self, record_id: str, received_at: datetime, *, dry_run: bool = False) -> bool:
        if not self._is_in_own_account():
            return False
        keys = {"PartitionKey": _partition(received_at), "RowKey": record_id}
        if not dry_run:
            self.context.storage.table(self.settings.table).write([("delete", keys, {})])
        return True

    def _is_in_own_account(self) -> bool:
        """Whether it is the app's own account, whichever way that is named; one that can't be told is another."""
        if not (self.settings.connection_string or self.settings.table_service_uri):
            return True
        try:
            table = self.client().url
        except SettingsError:
            return False
        return account_of(table) == account_of(self.context.storage.table(self.settings.table).client.url)

    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        reference = self.settings.connection_string
        address = f"({reference})" if reference else self.client().url  # which account it is, is a part of the secret
        scheme = "SharedKey" if reference or self._connection_string() else "Bearer"
        headers = {"Content-Type": CONTENT_TYPE, "Authorization": f"{scheme} {MASK}"}
        return [PreviewedRequest("POST", f"{address}/{self.settings.table}", headers, to_entity(outgoing, customer))]

    def client(self) -> TableClient:
        """The client for what the secret says now: a rotated connection string makes a new one."""
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
        # The schedule is what tries again, and it knows of the connection's health: one quick retry is enough here, and
        # none after a status, because the client would sleep through a Retry-After of any length.
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
        """The account's address, which is sent the token of the app's identity: that opens all leads."""
        app, uri = self.context.settings, self.settings.table_service_uri
        if not uri:
            return app.table_endpoint
        if uri.rstrip("/").lower() != app.storage_table_uri.rstrip("/").lower() and not is_azure_table_address(uri):
            raise SettingsError(
                "table_service_uri: only Azure's own table hosts are sent the token of the app's identity, such as "
                "https://ACCOUNT.table.core.windows.net; use connection_string for any other"
            )
        return uri

    def _classify(self, error: AzureError) -> Misconfigured | Retry | Rejected:
        return _classify(error, self._made[0] if self._made else "")


destination = AzureTable


_LEAD_COLUMNS: Final = (
    "LeadSource",
    "ActionCode",
    "ProductId",
    "OfferDisplayName",
    "PublisherDisplayName",
    "CustomerInfo",
    "Description",
)


def from_entity(entity: Mapping[str, Any]) -> dict[str, Any]:
    """A row's lead as a record that `parse_record` reads: of a row of ours what `to_entity` was told, any other row as it is."""
    if "CustomerKey" not in entity:
        return dict(entity)
    try:
        extra = json.loads(joined_text(entity, "Extra") or "{}")
    except ValueError:
        extra = {}
    own = {name: joined_text(entity, name) for name in _LEAD_COLUMNS}
    return own | {"CreatedTime": entity.get("CreatedTime", "")} | (extra if isinstance(extra, dict) else {})


def _partition(received_at: datetime) -> str:
    """A lead's day."""
    return received_at.strftime("%Y%m%d")


def offer_of(entity: Mapping[str, Any]) -> str:
    """The offer to which this app has sent the lead of a row, "" where it was the default one, or another has written the row."""
    offer = str(entity.get("Offer", "")) if "CustomerKey" in entity else ""
    return "" if offer == "*" else offer


def to_entity(outgoing: OutgoingLead, customer: Customer) -> dict[str, Any]:
    """The row of a lead. A text longer than a column continues in numbered columns (`Description_2` …)."""
    lead = outgoing.lead
    names = {
        "FirstName": lead.first_name,
        "LastName": lead.last_name,
        "Email": lead.email,
        "Phone": lead.phone,
        "Country": lead.country,
        "Company": lead.company,
        "Title": lead.title,
    }
    entity: dict[str, Any] = {
        "PartitionKey": _partition(outgoing.received_at),
        "RowKey": outgoing.lead_id,
        "CreatedTime": outgoing.received_at.strftime(CREATED_TIME_FORMAT),
        **text_columns("LeadSource", lead.lead_source),
        **text_columns("ActionCode", lead.action),
        **text_columns("ProductId", lead.product_id or lead.offer_part),
        **text_columns("OfferDisplayName", lead.offer_title),
        **text_columns("PublisherDisplayName", lead.publisher_name or lead.publisher),
        **text_columns("CustomerInfo", json.dumps(names | lead.customer_extra, ensure_ascii=False)),
        **text_columns("Description", lead.description),
        **_extra_columns(lead),
        "Offer": outgoing.offer,
        "Stage": outgoing.stage.value,
        "CountryCode": lead.country_code,
        "CustomerKey": customer.key,
        "IsTest": lead.is_test,
    }
    own_columns = {column: text for name, value in names.items() for column, text in text_columns(name, value).items()}
    if _characters(entity) + _characters(own_columns) <= MAX_ENTITY_CHARACTERS:
        entity |= own_columns
    return entity


def _extra_columns(lead: Lead) -> dict[str, str]:
    return text_columns("Extra", json.dumps(lead.extra, ensure_ascii=False)) if lead.extra else {}


def _characters(entity: dict[str, Any]) -> int:
    return sum(len(value) for value in entity.values() if isinstance(value, str))


def _unwrapped(secret: str, reference: str) -> str:
    """The connection string itself, also where it is wrapped in JSON as on the publishing portal's first page of 2017.

    Raises `SettingsError` if there is none: an empty one would mean the app's own account.
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


def _classify(error: AzureError, connection_string: str) -> Misconfigured | Retry | Rejected:
    """The Table service's error codes as outcomes (Microsoft Learn, "Table service error codes").

    `connection_string` is the one that was used, "" where the app's identity was.
    """
    if not isinstance(error, HttpResponseError) or not error.status_code:
        return _unanswered(error)
    code = _error_code(error)
    status = error.status_code
    if status in {401, 403}:
        hint = _FORBIDDEN_HINTS.get(code, "check the credential and its rights on the account")
        hint = _not_authenticated(connection_string) if code == "AuthenticationFailed" else hint
        return Misconfigured(f"The storage account refused the app ({code or status}): {hint}.", code or str(status))
    if code in _LEAD_ERRORS or status in {400, 413}:
        return Rejected(f"The Table service refused the row ({code or status}).", code or str(status))
    if status == 404:
        return Retry(code or "404")
    return Retry(code or str(status), _retry_after(error))


def _unanswered(error: AzureError) -> Misconfigured | Retry:
    """What a request means that did not get as far as an answer."""
    if isinstance(error, NotAllowed):
        return Misconfigured(
            "The account's address is not public, or its connection string says http: use https, and allow a private "
            "network in LEADS_ALLOWED_NETWORKS.",
            "address_refused",
        )
    if any(isinstance(cause, HandshakeFailed) for cause in causes(error)):
        return Misconfigured(
            "The account's host has no certificate of its own that is trusted: check the address.", "tls"
        )
    if type(error).__name__ == "AzureSigningError":  # the SDK does not export it
        return Misconfigured("The account key in the connection string is no whole key: copy it once more.", "key")
    if isinstance(error, ClientAuthenticationError):
        return Misconfigured(
            "The app's identity got no token for the storage account: check its client id and role.", "token"
        )
    return Retry(type(error).__name__)


def _not_authenticated(connection_string: str) -> str:
    """What to repair where the service says no more than `AuthenticationFailed`, of a SAS that has ended as of a wrong key."""
    if not connection_string:
        return "it does not take the token of the app's identity: check table_service_uri"
    if "sharedaccesssignature=" not in connection_string.lower():
        return "the account key in the connection string is wrong or was rotated"
    until = signed_until(connection_string)
    if until is not None and until <= clock.now():
        return f"the SAS in the connection string ended on {until:%Y-%m-%d %H:%M} UTC: make a new one"
    return "the SAS in the connection string is not valid, or the key that signed it was rotated: make a new one"


def _error_code(error: HttpResponseError) -> str:
    """The service's code, also from an error that the SDK passes on as it was received."""
    code = getattr(error, "error_code", None)
    if code:
        return str(getattr(code, "value", code))
    response: Any = error.response
    found = _CODE.search(response.text()) if response is not None else None
    return found[1] if found else ""


def _retry_after(error: HttpResponseError) -> float | None:
    response: Any = error.response
    header = response.headers.get("Retry-After") if response is not None else None
    return float(header) if header and header.isdecimal() else None
