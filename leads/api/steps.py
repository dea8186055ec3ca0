"""Long work in steps: each request does a bounded part of it and says where to go on. So it can be watched, and taken up again
where it was cut off; a step that is done twice does no harm."""

from typing import Final

from pydantic import BaseModel, Field

from leads.api.operation import Body

MAX_CURSOR: Final = 1000


class Step(Body):
    """What every step is asked."""

    dry_run: bool = Field(default=False, description="Only say what would be done.")
    after: str = Field("", max_length=MAX_CURSOR, description="Go on where the step before has ended: its `next`.")


class StepDone(BaseModel):
    """What every step answers. `next` is to be given as `after`; None = nothing is left."""

    next: str | None
