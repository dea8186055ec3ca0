"""The settings of a Marketo connection."""

from typing import Literal

from pydantic import Field, model_validator

from leads.destinations.base import DestinationSettings
from leads.platform.settings import SecretReference

FIELD_NAME = r"^[A-Za-z][A-Za-z0-9_]{0,254}$"

DoNotContact = Literal["doNotCall", "unsubscribed"]


class MarketoSettings(DestinationSettings):
    """The instance, the sign-in, the form if there is one, and the handling of persons."""

    munchkin_id: str = Field(
        title="Munchkin ID",
        pattern=r"^[0-9]{3}-[A-Za-z]{3}-[0-9]{3}$",
        description="The instance's account ID, such as 123-ABC-456: Admin > Integration > Munchkin.",
    )
    client_id: str = Field(
        title="Client ID",
        pattern=r"^[A-Za-z0-9-]{1,100}$",
        description="From the custom service: Admin > Integration > LaunchPoint > View Details.",
    )
    client_secret: SecretReference = Field(title="Client secret")
    endpoint: str | None = Field(
        None,
        title="Endpoint",
        pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?(/rest)?/?$",
        max_length=200,
        description="The REST endpoint, if it is not https://MUNCHKIN_ID.mktorest.com.",
    )
    form_id: int | None = Field(
        None,
        title="Form ID",
        ge=1,
        le=99_999_999,
        description="ID of the form that each lead fills out. Without it, the app creates and updates persons directly.",
    )
    program_id: int | None = Field(
        None, title="Program ID", ge=1, description="With a form: the program that the persons join."
    )
    partition: str | None = Field(
        None,
        title="Partition",
        min_length=1,
        max_length=255,
        description="Without a form: the partition for new persons, if not the default partition.",
    )
    static_list: int | None = Field(
        None, title="Static list", ge=1, description="ID of a static list for every person."
    )
    journey_field: str | None = Field(
        None,
        title="Journey field",
        pattern=FIELD_NAME,
        description="API name of a Text Area field that only the app writes. It holds the customer's journey.",
    )
    rating_field: str | None = Field(
        "rating",
        title="Rating field",
        pattern=FIELD_NAME,
        description="API name of the field for Hot, Warm or Cold.",
    )
    do_not_contact: tuple[DoNotContact, ...] = Field(
        ("doNotCall",),
        title="Do not contact",
        description="Flags for persons that a cross-listed lead creates, while the policy dnc is flag.",
    )
    deleted_records: Literal["recreate", "skip"] = Field(
        "recreate",
        title="Deleted persons",
        description="What the app does with a lead if the customer's person was deleted.",
    )

    @model_validator(mode="after")
    def _belongs_to_the_way_in(self) -> "MarketoSettings":
        if self.form_id is None and self.program_id is not None:
            raise ValueError("program_id: needs a form; add form_id, or leave program_id out")
        if self.form_id is not None and self.partition is not None:
            raise ValueError("partition: a form determines the partition by its workspace; leave partition out")
        return self

    @property
    def instance(self) -> str:
        """The instance's name, in one spelling."""
        return self.munchkin_id.upper()

    @property
    def url(self) -> str:
        """The endpoint without a slash or `/rest` at its end."""
        given = self.endpoint or f"https://{self.instance.lower()}.mktorest.com"
        return given.rstrip("/").removesuffix("/rest")
