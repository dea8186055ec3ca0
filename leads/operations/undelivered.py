"""The filter of operations on many undelivered leads."""

from collections.abc import Iterator

from pydantic import Field

from leads.core.states import State
from leads.ledger.queries import todo_after
from leads.ledger.todo_rows import Todo
from leads.ledger.transactions import Ledger
from leads.operations.leads import TimeSpan
from leads.operations.problems import Invalid
from leads.operations.steps import INVALID_CURSOR, Step


class UndeliveredFilter(TimeSpan, Step):
    """Selects leads by their to-do rows. Each operation declares its own `state`."""

    state: str
    offer: str | None = Field(default=None, max_length=500, description="Only leads of this offer.")
    connection: str | None = Field(
        default=None, max_length=100, pattern=r"^[a-z0-9:._=!-]*$", description="Only leads of this connection."
    )
    destination: str | None = Field(default=None, description="Only to the destination of this name.")

    @property
    def is_narrowed(self) -> bool:
        """Whether the filter has more than a state."""
        return bool(self.offer or self.connection or self.destination or self.since or self.until)

    def holds_todo(self, item: Todo) -> bool:
        return (
            (self.offer is None or item.offer.casefold() == self.offer.strip().casefold())
            and self.destination in {None, item.destination}
            and self.holds(item.received_at)
        )

    def found(self, ledger: Ledger, after: str) -> Iterator[tuple[str, Todo]]:
        """Leads of the state and connection, each with its cursor. Raises `Invalid` for a malformed cursor."""
        try:
            yield from todo_after(ledger, State(self.state), self.connection, after)
        except ValueError:
            raise Invalid(INVALID_CURSOR) from None
