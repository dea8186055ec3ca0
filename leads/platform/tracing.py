"""The trace of a lead, from its request through the queue to its delivery.

Storage queues carry no trace context, so the host begins a new operation for each message. The lead's trace is in its first
message and then in the ledger. Within a `tracing` block, events have this trace, and requests pass it on.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import getrandbits
from typing import Final

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
"""W3C Trace Context, section 3.2.2, version 00. Any other text is ignored, because it could be personal."""
_current: ContextVar[str] = ContextVar("traceparent", default="")


def begin(*offered: str | None) -> str:
    """The first valid trace context of `offered`, else a new one that is not sampled.

    So each lead has a trace. The host offers one only with Application Insights.
    """
    for traceparent in offered:
        if traceparent and _TRACEPARENT.fullmatch(traceparent):
            return traceparent
    return f"00-{getrandbits(128) | 1:032x}-{getrandbits(64) | 1:016x}-00"


@contextmanager
def tracing(traceparent: str) -> Iterator[None]:
    """Give the block this trace. "" = the trace is not known yet."""
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


def follow(traceparent: str) -> None:
    """Give the rest of the `tracing` block this trace."""
    _current.set(traceparent)


def trace_id(traceparent: str = "") -> str:
    """The id of a trace, by default of the present block: 32 hex digits, "" without a trace.

    It is the `operation_Id` of the request that brought the lead.
    """
    found = _TRACEPARENT.fullmatch(traceparent or _current.get())
    return found[1] if found else ""


def trace_headers() -> dict[str, str]:
    """The header that passes the trace on with a request; empty without a trace."""
    found = _TRACEPARENT.fullmatch(_current.get())
    return {"traceparent": f"00-{found[1]}-{getrandbits(64) | 1:016x}-{found[2]}"} if found else {}
