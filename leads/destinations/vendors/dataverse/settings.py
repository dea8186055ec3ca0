"""The settings of a Dataverse connection."""

from typing import Literal

from pydantic import Field, model_validator

from leads.destinations.base import BaseUrl, DeletedRecords, DestinationSettings, MatchExisting
from leads.platform.settings import OptionalSecret

GUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class DataverseSettings(DestinationSettings):
    """The environment, the sign-in, and the handling of existing records."""

    url: BaseUrl = Field(
        title="URL",
        description="The environment's address, such as https://contoso.crm4.dynamics.com.",
    )
    tenant_id: str | None = Field(
        None,
        title="Directory (tenant) ID",
        pattern=r"^[A-Za-z0-9.-]{1,100}$",
        description="From the app registration. Leave out this and the next two settings to use the app's managed identity.",
    )
    client_id: str | None = Field(
        None,
        title="Application (client) ID",
        pattern=f"^{GUID}$",
        description="From the app registration, such as 00000000-0000-0000-0000-000000000000.",
    )
    client_secret: OptionalSecret = Field(
        None,
        title="Client secret",
        description="Place of the secret's value (not its ID): env:LEADS_SECRET_NAME or keyvault:NAME.",
    )
    authority: BaseUrl = Field(
        "https://login.microsoftonline.com",
        title="Authority",
        description="Sign-in address, such as https://login.microsoftonline.us in a sovereign cloud.",
    )
    match_existing: MatchExisting = "email"
    duplicate_detection: Literal["off", "delivered", "create"] = Field(
        "off",
        title="Duplicate detection",
        description="The environment's duplicate rules: ignored; a hit counts as delivered; a hit is created anyway.",
    )
    deleted_records: DeletedRecords = "recreate"

    @model_validator(mode="after")
    def _credentials_are_complete(self) -> "DataverseSettings":
        given = {name: getattr(self, name) for name in ("tenant_id", "client_id", "client_secret")}
        missing = [name for name, value in given.items() if value is None]
        if 0 < len(missing) < len(given):
            raise ValueError(f"{missing[0]}: is needed too; leave out all three to use the app's managed identity")
        return self
