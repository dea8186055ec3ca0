"""The trace of a lead: from the request that brought it, through the queue, to the last thing that is done about it.

A storage queue has no place for a trace context, so the host begins an operation of its own for every message. The lead's
own trace travels in the first message and rests in the ledger; here it becomes the one that events name and requests hand on.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import getrandbits
from typing import Final

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
"""W3C Trace Context, section 3.2.2, version 00. Anything else is somebody's text, and could be personal."""
_current: ContextVar[str] = ContextVar("traceparent", default="")


def begin(*offered: str | None) -> str:
    """The first of these that is a trace context, or a new one, not sampled: a lead has a trace whoever sends it, and whether the
    host names one (it does with Application Insights only)."""
    for traceparent in offered:
        if traceparent and _TRACEPARENT.fullmatch(traceparent):
            return traceparent
    return f"00-{getrandbits(128) | 1:032x}-{getrandbits(64) | 1:016x}-00"


@contextmanager
def tracing(traceparent: str) -> Iterator[None]:
    """Until the end of the block, what is done belongs to this trace; "" = to none that is known yet."""
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


def follow(traceparent: str) -> None:
    """Work from here to the end of the block belongs to this trace."""
    _current.set(traceparent)


def trace_id(traceparent: str = "") -> str:
    """A trace's id, by default that of the block around, as 32 hex digits: the `operation_Id` of the request that brought the
    lead. "" without a trace."""
    found = _TRACEPARENT.fullmatch(traceparent or _current.get())
    return found[1] if found else ""


def trace_headers() -> dict[str, str]:
    """The header that hands the trace on with a request, if there is one."""
    found = _TRACEPARENT.fullmatch(_current.get())
    return {"traceparent": f"00-{found[1]}-{getrandbits(64) | 1:016x}-{found[2]}"} if found else {}
