"""The circuit breaker of one connection: its state, how an outcome changes it, and its row. No I/O."""

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from leads.platform.row_reading import read_optional_time, reads

CONNECTIONS_PARTITION: Final = "connection"
FAILURES_UNTIL_PAUSE: Final = 5
REFUSALS_UNTIL_PAUSE: Final = 3
"""A refusal can be the fault of the lead, or of all leads of one customer. If leads of three customers in a row are refused, the
connection is at fault."""
REFUSALS_KEPT: Final = 20
LONGEST_WAIT_SECONDS: Final = 900
"""The longest delay of probes by a vendor's `Retry-After`, so that a vendor's mistake does not hold leads for a day."""
PROBED_EVERY: Final = timedelta(minutes=1)
CHECKED_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection's health. A connection without a row is open and has never failed.

    `failures`: `Retry` outcomes in a row.
    `probed_lead`: the last lead that was sent while the connection was paused.
    `refused`: deliveries that were refused in a row and may not be at fault, each as `LEAD_ID/DESTINATION`.
    `refusal`: why the vendor refused the last delivery, in words and a code. It stays until a delivery succeeds, because a
    `check()` that passes does not show that the vendor takes leads.
    `last_lead`: the lead that was delivered at `last_success_at`.
    `checked_at`: when `watch` last began a `check()` of the open connection.
    `attended_at`: when `watch` last probed the connection, or sent on leads that waited for it.
    `wait_until`: the vendor's `Retry-After`. A paused connection is not probed before this time.
    `person_note`: why a person paused the connection, at `person_since`. Only a person ends that pause.
    """

    id: str
    type: str = ""
    paused: bool = False
    reason: str = ""
    since: datetime | None = None
    opened_at: datetime | None = None
    failures: int = 0
    last_success_at: datetime | None = None
    last_lead: str = ""
    last_failure_at: datetime | None = None
    checked_at: datetime | None = None
    wait_until: datetime | None = None
    probed_lead: str = ""
    refused: str = ""
    refusal: str = ""
    attended_at: datetime | None = None
    person_note: str = ""
    person_since: datetime | None = None
    etag: str = ""

    @property
    def by_person(self) -> bool:
        return self.person_since is not None

    @property
    def last_refusal(self) -> str:
        """For a person: why and when the last delivery was refused; "" if a delivery has succeeded since."""
        if not self.refusal:
            return ""
        at = f" at {self.last_failure_at:%Y-%m-%d %H:%M} UTC" if self.last_failure_at else ""
        return f"the last delivery was refused{at}: {self.refusal}"

    def allows(self, *, probe: bool) -> bool:
        """Whether a lead may be sent. The app's own pause does not stop a probe; a person's pause does."""
        return not self.by_person and (probe or not self.paused)

    @property
    def next_check_at(self) -> datetime | None:
        """When `watch` asks the vendor next; None = at once.

        While paused: every minute, but not before `wait_until`. While open: after an hour without a success or check. The hour is
        up to a fifth longer or shorter, so that not all connections are asked at once.
        """
        if self.paused:
            moments = (self.attended_at + PROBED_EVERY if self.attended_at else None, self.wait_until)
            return max((moment for moment in moments if moment is not None), default=None)
        proofs = [moment for moment in (self.last_success_at, self.checked_at) if moment is not None]
        if not proofs:
            return None
        spread = random.Random(f"{self.id}{max(proofs)}").uniform(0.8, 1.2)  # noqa: S311 - spreads load, keeps no secret
        return max(proofs) + CHECKED_AFTER * spread

    # --- What an outcome changes ----------------------------------------------------------------------------------------

    def after_success(self, type_name: str, lead_id: str, began_at: datetime, now: datetime) -> "Connection":
        """A success ends the failures in a row. It also ends the pause if the attempt began after the pause."""
        proven = self.paused and (self.since is None or began_at >= self.since)
        opened = self.reopened(now) if proven else self
        return replace(
            opened, type=type_name, last_lead=lead_id, failures=0, refused="", refusal="", last_success_at=now
        )

    def after_failures(
        self, type_name: str, count: int, reason: str, refusal: str, retry_after: float | None, now: datetime
    ) -> "Connection":
        """Add `count` failures. At `FAILURES_UNTIL_PAUSE`, the connection is paused. `retry_after` is in seconds."""
        wait = timedelta(seconds=min(retry_after, LONGEST_WAIT_SECONDS)) if retry_after else None
        changed = replace(
            self,
            type=type_name,
            failures=self.failures + count,
            last_failure_at=now,
            wait_until=now + wait if wait else self.wait_until,
            refusal=refusal or self.refusal,
        )
        if self.paused or changed.failures < FAILURES_UNTIL_PAUSE:
            return changed
        return replace(changed, paused=True, since=now, reason=f"{changed.failures} attempts in a row failed: {reason}")

    def after_refusal(self, type_name: str, delivery: str, code: str, refusal: str, now: datetime) -> "Connection":
        """Add a refusal. After refusals of `REFUSALS_UNTIL_PAUSE` customers in a row, the connection is paused."""
        if self.paused:
            return replace(self, last_failure_at=now, refusal=refusal)
        row = [*(other for other in self.refused.split() if other != delivery), delivery][-REFUSALS_KEPT:]
        changed = replace(self, type=type_name, refused=" ".join(row), refusal=refusal, last_failure_at=now)
        if len(set(map(_customers_bucket, row))) < REFUSALS_UNTIL_PAUSE:
            return changed
        reason = (
            f"the leads of {REFUSALS_UNTIL_PAUSE} customers in a row were refused ({code}), so the connection is probably at "
            "fault: check the secret, and what the vendor expects"
        )
        return replace(changed, paused=True, since=now, reason=reason)

    def after_pause(self, type_name: str, reason: str, now: datetime) -> "Connection":
        if self.paused and self.reason == reason:
            return self  # if many leads are refused at once, only one of them writes
        since = self.since if self.paused else now
        return replace(self, type=type_name, reason=reason, last_failure_at=now, paused=True, since=since)

    def reopened(self, now: datetime) -> "Connection":
        return replace(
            self,
            paused=False,
            reason="",
            since=None,
            failures=0,
            opened_at=now,
            probed_lead="",
            refused="",
            wait_until=None,
        )


def _customers_bucket(delivery: str) -> str:
    """The last digit of a lead's id. All leads of one customer have the same digit, and few other leads do."""
    return delivery.partition("/")[0][-1:]


# --- The row ------------------------------------------------------------------------------------------------------------

_TEXTS: Final = ("type", "reason", "last_lead", "probed_lead", "refused", "refusal", "person_note")
_TIMES: Final = (
    *("since", "opened_at", "last_success_at", "last_failure_at", "checked_at"),
    *("attended_at", "wait_until", "person_since"),
)


def connection_entity(connection: Connection) -> dict[str, Any]:
    entity: dict[str, Any] = {"PartitionKey": CONNECTIONS_PARTITION, "RowKey": connection.id}
    entity |= {"paused": connection.paused, "failures": connection.failures}
    entity |= {name: getattr(connection, name) for name in _TEXTS}
    return entity | {name: moment for name in _TIMES if (moment := getattr(connection, name)) is not None}


@reads("connection")
def read_connection(entity: Any) -> Connection:
    times: dict[str, Any] = {name: read_optional_time(entity, name) for name in _TIMES}
    return Connection(
        id=entity["RowKey"],
        paused=entity.get("paused", False),
        failures=entity.get("failures", 0),
        etag=entity.metadata["etag"],
        **{name: entity.get(name, "") for name in _TEXTS},
        **times,
    )
