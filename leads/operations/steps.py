"""Long work in steps. Each request does a bounded part and answers a cursor. A person can watch the progress, and continue
after an interruption. It is safe to repeat a step."""

from typing import Final

from pydantic import BaseModel, Field

from leads.operations.operation import ALL_SAID, Body

INVALID_CURSOR: Final = "after: is not the next of a previous step"


class Part(Body):
    """Base of the request for a step that changes nothing."""

    after: str = Field(default="", max_length=1000, description="Continue after the previous step: its `next`.")


class Step(Part):
    """Base of the request for a step that changes something."""

    dry_run: bool = Field(default=False, description="Only show what would be done.")


class StepDone(BaseModel):
    """Base of the answer of a step. `next`: the `after` of the next step; None = nothing is left."""

    model_config = ALL_SAID

    next: str | None
