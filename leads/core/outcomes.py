"""The possible outcomes of sending a lead to a destination, as one union that callers match exhaustively. Pure: no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """The field that all outcomes have.

    `key_refused`: the vendor refused a request with the customer's idempotency key. Nothing is stored under that key, and the
    vendor may repeat the refusal for as long as it keeps the key. The next try gets a new key.
    """

    key_refused: bool = False


@dataclass(frozen=True, slots=True)
class Delivered(_Sent):
    """The destination has the record now, or had it already.

    `memory`: a few short texts without personal data, which the destination gets back with the customer's next lead.
    `unconfirmed`: the vendor took the lead, and does not say whether it made a record; `record_id` is "".
    """

    record_id: str
    code: str = ""
    memory: Mapping[str, str] | None = None
    unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Retry(_Sent):
    """An outage, a time-out or throttling: nothing is wrong with the lead. `after` is the vendor's Retry-After in seconds.

    `ours`: the cause is on the app's side and does not count against the connection. The rate limiter gave the lead no turn in
    time, or the app's storage or Key Vault did not answer.
    """

    code: str
    after: float | None = None
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Rejected(_Sent):
    """The destination can't store this lead as it is. `reason` tells a person why, without the lead's data.

    `doubtful`: a fault of the connection would give the same answer for every lead. Several such outcomes in a row pause the
    connection.
    """

    reason: str
    code: str = ""
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Skipped(_Sent):
    """The destination stored nothing because a setting says so. `reason` names the setting."""

    reason: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Misconfigured(_Sent):
    """Credentials, rights, the address or a field are wrong, so every lead would fail. `reason` says what to change."""

    reason: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Unknown(_Sent):
    """The lead was sent and the answer was lost. The vendor has no key by which it could recognise a second try."""

    code: str


Outcome = Delivered | Skipped | Retry | Rejected | Misconfigured | Unknown
