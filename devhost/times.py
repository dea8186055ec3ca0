"""The times of the Azure Functions host, as measured there. Tests shorten them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """All in seconds."""

    kill: float = 2.0
    """From a function's time limit until its worker process is killed."""
    restart: float = 1.0
    """From the first crash of the worker process until the next process starts."""
    second_restart: float = 10.0
    """The same after the second crash."""
    crash_window: float = 1800.0
    """The third crash within this time ends the host."""
    drain: float = 30.0
    """How long running functions may continue after the first signal to stop."""
    retry: float = 0.8
    """Until a storage call is retried. Each further wait is twice as long; after six tries the host ends."""
    timer_lease: float = 60.0
    """How long the timers of a dead host stay locked for other hosts."""
    timer_look: float = 60.0
    """How often a host tries to take over another host's timer."""
