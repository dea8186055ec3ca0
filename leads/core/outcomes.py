"""What can come of sending a lead to a destination. One union: whoever handles an outcome handles each. Pure: no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """What all outcomes can say.

    `key_refused`: the vendor has refused what was sent under the customer's idempotency key, so nothing is stored under it, and
    the vendor may repeat the refusal for as long as it keeps the key. The next try gets another key.
    """

    key_refused: bool = False


@dataclass(frozen=True, slots=True)
class Delivered(_Sent):
    """The record is there, or was there already.

    `memory` is what the destination wants to be told with the customer's next lead: a few short texts, no personal data.
    `unconfirmed`: it was handed over, and the vendor does not say whether a record came of it; `record_id` is "" then.
    """

    record_id: str
    code: str = ""
    memory: Mapping[str, str] | None = None
    unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Retry(_Sent):
    """An outage, a time-out, throttling: nothing is wrong with the lead. `after` is the vendor's Retry-After in seconds.

    `ours`: the vendor has no part in it, and it says nothing against the connection. Either the lead's turn at what the vendor
    allows did not come in time, or something of the app's own, such as its storage or its Key Vault, did not answer.
    """

    code: str
    after: float | None = None
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Rejected(_Sent):
    """This lead can't be stored as it is. `reason` tells a person why, without repeating the lead's data.

    `doubtful`: the vendor would say the same of every lead if the connection were at fault. Several in a row pause it.
    """

    reason: str
    code: str = ""
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Skipped(_Sent):
    """Nothing is stored, and nothing is wrong: `reason` names the setting that asks for it."""

    reason: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Misconfigured(_Sent):
    """Credentials, rights, address or a missing field: every lead would fail. `reason` says what to change."""

    reason: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Unknown(_Sent):
    """Sent, the answer was lost, and the vendor has no key by which a second try could be recognised."""

    code: str


Outcome = Delivered | Skipped | Retry | Rejected | Misconfigured | Unknown
