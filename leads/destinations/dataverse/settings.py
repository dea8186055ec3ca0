"""What a person enters to connect an environment."""

from typing import Literal

from pydantic import Field, model_validator

from leads.destinations.base import DestinationSettings
from leads.settings import SecretReference

GUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class DataverseSettings(DestinationSettings):
    """Which environment, as whom, and what is done about records that are there already."""

    url: str = Field(
        pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?/?$",
        max_length=200,
        description="The environment's address, such as https://contoso.crm4.dynamics.com.",
    )
    tenant_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9.-]{1,100}$",
        description="Directory (tenant) ID of the app registration. Leave all three out to use the app's managed identity.",
    )
    client_id: str | None = Field(
        None, pattern=f"^{GUID}$", description="Application (client) ID of the app registration."
    )
    client_secret: SecretReference | None = None
    authority: str = Field(
        "https://login.microsoftonline.com",
        pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?/?$",
        description="Where tokens come from; sovereign clouds have their own.",
    )
    match_existing: Literal["email", "off"] = Field(
        "email", description="Whether a customer's first lead looks for a record that others have made."
    )
    duplicate_detection: Literal["off", "delivered", "create"] = Field(
        "off",
        description="The environment's duplicate rules: not asked; a hit counts as delivered; a hit is created anyway.",
    )
    deleted_records: Literal["recreate", "skip"] = Field(
        "recreate", description="What becomes of a lead whose customer's record somebody has deleted."
    )

    @model_validator(mode="after")
    def _credentials_are_complete(self) -> "DataverseSettings":
        given = {name: getattr(self, name) for name in ("tenant_id", "client_id", "client_secret")}
        missing = [name for name, value in given.items() if value is None]
        if 0 < len(missing) < len(given):
            raise ValueError(f"{missing[0]}: is needed too; leave out all three to use the app's managed identity")
        return self

    @property
    def base_url(self) -> str:
        return self.url.rstrip("/")
