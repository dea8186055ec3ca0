"""Long work in steps: each request does a bounded part of it and says where to go on. So it can be watched, and taken up again
where it was cut off; a step that is done twice does no harm."""

from typing import Final

from pydantic import BaseModel, Field

from leads.operations.operation import ALL_SAID, Body

MAX_CURSOR: Final = 1000


INVALID_CURSOR: Final = "after: is not what a step has answered as next"


class Part(Body):
    """What every step is asked, also one that only looks."""

    after: str = Field(default="", max_length=MAX_CURSOR, description="Continue after the previous step: its `next`.")


class Step(Part):
    """What a step is asked that does something."""

    dry_run: bool = Field(default=False, description="Only show what would be done.")


class StepDone(BaseModel):
    """What every step answers. `next` is to be given as `after`; None = nothing is left."""

    model_config = ALL_SAID

    next: str | None
