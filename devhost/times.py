"""The times of the Azure Functions host, as measured there; tests shorten them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """All in seconds."""

    kill: float = 2.0
    """From a function's time limit until its worker process is killed."""
    restart: float = 1.0
    """From the first death of the worker process by itself until the next one starts."""
    second_restart: float = 10.0
    crash_window: float = 1800.0
    """The third such death within it ends the host."""
    drain: float = 30.0
    """How long running functions may go on after the first signal to stop."""
    retry: float = 0.8
    """Until a storage call is tried again; the next waits double each time, and after six tries the host ends."""
    timer_lease: float = 60.0
    """How long a host that died keeps its timers from the others."""
    timer_look: float = 60.0
    """How often a host looks whether it may fire a timer that another one holds."""
