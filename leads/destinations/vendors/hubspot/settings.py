"""The settings of a HubSpot connection."""

from typing import Literal

from pydantic import Field

from leads.destinations.base import BaseUrl, DeletedRecords, DestinationSettings
from leads.platform.settings import SecretReference


class HubSpotSettings(DestinationSettings):
    """The account, which the service key determines, and the handling of existing contacts."""

    service_key: SecretReference = Field(
        title="Service key",
        description="Place of the service key's token (pat-…): env:LEADS_SECRET_NAME or keyvault:NAME.",
    )
    deleted_records: DeletedRecords = "recreate"
    do_not_contact: Literal["off", "unsubscribe"] = Field(
        "off",
        title="Do not contact",
        description="With unsubscribe, policy dnc=flag opts the address out of all e-mail. No API call can undo this.",
    )
    url: BaseUrl = Field(
        "https://api.hubapi.com",
        title="URL",
        description="The address of HubSpot's API, such as https://api.hubapi.com. It is the same for all regions.",
    )
