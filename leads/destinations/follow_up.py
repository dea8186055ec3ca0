"""Follow-up: what a CRM does about a lead, such as a rating, an owner or a task. Each stage has its own follow-up."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from leads.core.lead import Stage
from leads.destinations.mapping import check_template

Rating = Literal["hot", "warm", "cold"]

RATINGS: Final[Mapping[Stage, Rating]] = {
    Stage.CONTACT_REQUESTED: "hot",
    Stage.PURCHASE: "hot",
    Stage.TRIAL: "warm",
    Stage.INITIAL_INTEREST: "warm",
    Stage.CROSS_LISTED: "cold",
}
"""Stage → rating, unless the offer configures another rating. A lead of an unknown stage gets no rating."""

REAL_INTEREST: Final = frozenset({Stage.INITIAL_INTEREST, Stage.CONTACT_REQUESTED, Stage.PURCHASE, Stage.TRIAL})
"""Stages in which the customer has asked for something."""

_HEAT: Final = {"cold": 0, "warm": 1, "hot": 2}


def is_hotter(rating: str, than: str) -> bool:
    """Whether a rating is above another. Every known rating is above an unknown rating."""
    return _HEAT.get(rating, -1) > _HEAT.get(than, -1)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Task(_Model):
    """A task for a person, due some hours after the lead arrived."""

    subject: Annotated[str, AfterValidator(check_template)] = Field(
        "Follow up: {headline}", max_length=500, description="A template; names a field of the lead in braces."
    )
    due_hours: float = Field(24, gt=0, le=8760, description="Hours after the lead arrived.")

    def due_at(self, received_at: datetime) -> datetime:
        """When the task is due, in UTC, for a lead that was received at this time."""
        return received_at.astimezone(UTC) + timedelta(hours=self.due_hours)


class FollowUp(_Model):
    """The follow-up for leads of one stage. Parts that are left out are not done. Without a rating, `RATINGS` applies."""

    rating: Rating | None = Field(None, description="hot, warm or cold. The app only raises a rating.")
    owner: str = Field(
        "",
        max_length=200,
        description="Owner of new records and tasks: user:ID, team:ID, queue:ID or an ID, depending on the CRM.",
    )
    queue: str = Field(
        "", max_length=200, description="ID of the queue for the task, or for the record if there is no task."
    )
    task: Task | None = Field(None, description="A task with a due date, for a person.")
    campaign: str = Field("", max_length=200, description="ID of the campaign for new records.")
    list: str = Field("", max_length=200, description="ID of the static list for the record.")


NO_FOLLOW_UP: Final = FollowUp.model_validate({})


def follow_up_of(stage: Stage, configured: Mapping[Stage, FollowUp]) -> FollowUp:
    """The follow-up for a lead of this stage."""
    chosen = configured.get(stage, NO_FOLLOW_UP)
    return chosen if chosen.rating else chosen.model_copy(update={"rating": RATINGS.get(stage)})
