"""The settings of a Salesforce connection."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from leads.destinations.base import BaseUrl, DeletedRecords, DestinationSettings, MatchExisting
from leads.platform.settings import OptionalSecret


def id_pattern(prefix: str) -> str:
    """The pattern of the IDs of one kind of record: the prefix and 12 characters, or 15 with a checksum."""
    return f"{prefix}[a-zA-Z0-9]{{12}}([a-zA-Z0-9]{{3}})?"


_ASSIGNMENT_RULE = id_pattern("01Q")
_NOT_MY_DOMAIN = {"login.salesforce.com", "test.salesforce.com"}
_PAGES = (".lightning.force.com", ".salesforce-setup.com", ".visualforce.com")


class SalesforceSettings(DestinationSettings):
    """The organisation, the sign-in, and the handling of existing records."""

    url: BaseUrl = Field(
        title="My Domain address",
        description="The organisation's address, such as https://contoso.my.salesforce.com.",
    )
    client_id: str = Field(
        pattern=r"^[A-Za-z0-9._-]{10,255}$",
        title="Consumer key",
        description="From the external client app, such as 3MVG9….",
    )
    client_secret: OptionalSecret = Field(
        None,
        title="Consumer secret",
        description="For a sign-in by client credentials as the app's run-as user. Place of the secret: env:LEADS_SECRET_NAME or "
        "keyvault:NAME.",
    )
    username: str | None = Field(
        None,
        pattern=r"^[^\s@]+@[^\s@]+$",
        max_length=80,
        title="User name",
        description="User to sign in as with a private key instead of a consumer secret, such as leads@contoso.example.com.",
    )
    private_key: OptionalSecret = Field(
        None,
        title="Private key",
        description="Place of the PEM key that belongs to the external client app's certificate: env:LEADS_SECRET_NAME or "
        "keyvault:NAME.",
    )
    audience: str = Field(
        "https://login.salesforce.com",
        pattern=r"^https://[A-Za-z0-9.-]+$",
        title="Audience",
        description="With a private key: https://login.salesforce.com, or https://test.salesforce.com for a sandbox.",
    )
    external_id_field: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,76}__c$",
        title="External ID field",
        description="A lead field that identifies each record, such as Marketplace_Key__c: text(32), unique and external ID.",
    )
    match_existing: MatchExisting = "email"
    duplicate_rules: Literal["allow", "existing", "delivered"] = Field(
        "allow",
        title="Duplicate rules",
        description="If a rule finds a duplicate: create anyway; add to the record that the rule names; count as delivered.",
    )
    assignment: str = Field(
        "on",
        pattern=f"^(on|off|{_ASSIGNMENT_RULE})$",
        title="Assignment rules",
        description="on: the active rule assigns new leads; off: no rule does; or the ID of a rule, 01Q….",
    )
    deleted_records: DeletedRecords = "recreate"

    @field_validator("url")
    @classmethod
    def _is_my_domain(cls, url: str) -> str:
        host = urlsplit(url).hostname or ""
        if host in _NOT_MY_DOMAIN or host.endswith(_PAGES):
            raise ValueError(
                "is not the My Domain address: enter https://NAME.my.salesforce.com, as Setup > My Domain shows"
            )
        return url

    @model_validator(mode="after")
    def _parts_belong_together(self) -> "SalesforceSettings":
        by_key = {"username": self.username, "private_key": self.private_key}
        missing = [name for name, value in by_key.items() if value is None]
        if self.client_secret is None and missing:
            raise ValueError(f"{missing[0]}: is needed; or set client_secret to sign in by client credentials")
        if self.client_secret is not None and len(missing) < len(by_key):
            raise ValueError("client_secret: leave it out, or leave out username and private_key")
        if self.assignment not in {"on", "off"} and self.external_id_field is None:
            raise ValueError("assignment: a certain rule can be asked for only with external_id_field; use on or off")
        return self
