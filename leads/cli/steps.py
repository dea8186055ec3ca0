"""Long work at the shell: runs it in steps, shows progress, and says how to continue after an interruption."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Annotated, TypeVar

import typer

from leads.cli import hints
from leads.cli.completion import connection_ids, offer_ids
from leads.cli.output import print_line
from leads.cli.prompts import ask
from leads.operations.operation import Parts
from leads.operations.problems import Invalid
from leads.operations.steps import Part, StepDone

PartT = TypeVar("PartT", bound=Part)
StepT = TypeVar("StepT", bound=StepDone)

AllOfOffer = Annotated[str | None, typer.Option(help="All leads of this offer.", autocompletion=offer_ids)]
AllOfConnection = Annotated[
    str | None, typer.Option(help="All leads of this connection.", autocompletion=connection_ids)
]
AllSince = Annotated[str | None, typer.Option(help="All leads received since: 2026-01-31, 2026-01-31T14:00Z, 3d.")]
AllUntil = Annotated[str | None, typer.Option(help="All leads received until then; written like --since.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. For scripts.")]
After = Annotated[
    str, typer.Option("--after", help="Continue an interrupted run. The interrupted command prints this value.")
]


def in_steps(
    context: typer.Context,
    run: Callable[[*Parts, PartT], StepT],
    request: PartT,
    after: str = "",
) -> Iterator[StepT]:
    """The answer of each step, from `after` on. Removes the line of `show_progress` at the end.

    `request` fixes a time such as 3d once, for all steps.
    """
    try:
        while True:
            step = ask(context, run, request.model_copy(update={"after": after}))
            yield step
            if step.next is None:
                end_progress()
                return
            after = step.next
    except BaseException as error:
        end_progress()
        if after and not isinstance(error, Invalid):
            print_line(f"To continue: {hints.again('--after', after)}", err=True)
        raise


def show_progress(text: str) -> None:
    """Show progress on a line that the next call replaces. Prints nothing without a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def end_progress() -> None:
    """Remove the line of `show_progress`."""
    show_progress("")


@contextmanager
def until_interrupted() -> Iterator[Callable[[float], bool]]:
    """Give a function that waits for some seconds. Ctrl-C ends the wait early, and the function returns True.

    Ctrl-C does not interrupt a request in progress. A second Ctrl-C interrupts the program.
    """
    pressed: SimpleQueue[None] = (
        SimpleQueue()
    )  # a signal handler may call its put(), which never waits; an Event has a lock

    def note(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        pressed.put(None)

    def interrupted(seconds: float) -> bool:
        try:
            pressed.get(timeout=seconds)
        except Empty:
            return False
        return True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
