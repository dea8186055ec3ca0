"""Steps of a timer. Each step has a deadline. A fault in one step, or in one item of a step, does not stop the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from leads.core.problems import code_location
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.row_reading import UnreadableRow
from leads.platform.storage import StorageError, is_invalid_request
from leads.platform.threads import NotDoneInTime


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a timer's work, and its time limit in seconds."""

    name: str
    seconds: float
    run: Callable[[], None]


def carry_out(step: Step) -> Exception | None:
    """Run a step within its deadline, and log its failure or overrun. Returns the exception of a failure, else None."""
    with deadline.within(step.seconds):
        try:
            step.run()
        except NotDoneInTime as late:
            log_overrun(step, str(late))
        except Exception as error:  # noqa: BLE001 - a fault in one step must not stop the next
            if deadline.remaining() <= 0:
                log_overrun(step, code_location(error))
            else:
                emit(Event.STEP_FAILED, what=step.name, why=code_location(error))
                return error
    return None


def log_overrun(step: Step, why: str) -> None:
    """Log that a step did not finish in time."""
    emit(Event.STEP_OVERRAN, what=step.name, seconds=step.seconds, why=why)


@contextmanager
def isolated(what: str) -> Iterator[None]:
    """A block for one item of many. A fault is logged and ends only this block; a storage outage is raised."""
    try:
        yield
    except UnreadableRow as unreadable:
        unreadable.report()
    except NotDoneInTime:
        raise
    except StorageError as error:
        if not is_invalid_request(error):
            raise
        emit(Event.STORAGE_UNAVAILABLE, what=what, why=type(error).__name__)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the item
        emit(Event.STEP_FAILED, what=what, why=code_location(error))
