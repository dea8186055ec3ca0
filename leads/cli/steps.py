"""Long work at the shell: step after step, with how far it has come, and how to end it or take it up again."""

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
    """The answer of every step, from `after` on. The line of `show_progress` is gone when they end.

    A time such as 3d is fixed once, in `request`, and does not move with each step.
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
            print_line(f"Cut off; to go on there: {hints.again('--after', after)}", err=True)
        raise


def show_progress(text: str) -> None:
    """Show progress on a line that the next one replaces; nothing without a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def end_progress() -> None:
    """Remove the line of `show_progress`."""
    show_progress("")


@contextmanager
def until_interrupted() -> Iterator[Callable[[float], bool]]:
    """Give a function that waits for some seconds. It ends early, and returns that, when a person presses Ctrl-C.

    A request that is under way is not interrupted. A second Ctrl-C interrupts as ever.
    """
    pressed: SimpleQueue[None] = (
        SimpleQueue()
    )  # unlike an Event, a signal handler may set it off: its put() never waits

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
