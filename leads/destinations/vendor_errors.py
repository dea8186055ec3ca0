"""Turns a vendor's refusal, or a missing answer, into the outcome of a lead or the result of a check.

Each vendor has a table of codes: code → kind and words. The outcome of a kind is the same for all vendors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, TypeVar

from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry, Skipped
from leads.destinations.base import OWN_OUTAGE_SECONDS, CheckResult
from leads.destinations.http import Failure, NoAnswer
from leads.destinations.rate_limiter import NO_TURN, RateLimited
from leads.destinations.tokens import NoToken
from leads.platform.secrets import SecretOutOfReach
from leads.platform.settings import SettingsError

T = TypeVar("T")

KEY_VAULT: Final = "key_vault"
"""The code if a secret could not be read, because Key Vault or the identity's token endpoint did not answer."""


class ErrorKind(Enum):
    """What a refusal means for the sender of the request."""

    ALREADY_THERE = auto()
    CHANGED_MEANWHILE = auto()
    GONE = auto()
    DUPLICATE_RULE = auto()
    TOO_LONG = auto()
    FIELD = auto()
    SIGN_IN_AGAIN = auto()
    TRANSIENT = auto()
    SETTINGS = auto()
    LEAD = auto()


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason for a refusal: its kind, the vendor's code, words for a person, and the vendor's `Retry-After` in seconds.

    `fields` are the refused fields, if the vendor names them.
    """

    kind: ErrorKind
    code: str
    words: str = ""
    retry_after: float | None = None
    fields: tuple[str, ...] = ()

    def outcome(self) -> Outcome:
        """The lead's outcome for this problem."""
        match self.kind:
            case ErrorKind.SETTINGS | ErrorKind.SIGN_IN_AGAIN | ErrorKind.GONE:
                return Misconfigured(
                    self.words or "The vendor refuses the sign-in: check the connection's credentials.", self.code
                )
            case ErrorKind.LEAD | ErrorKind.TOO_LONG | ErrorKind.FIELD:
                return Rejected(self.words or "The vendor does not accept this lead.", self.code)
            case _:
                return Retry(self.code, self.retry_after)


UNREADABLE: Final = Problem(ErrorKind.TRANSIENT, "unreadable_answer")
"""An answer that the vendor's interface does not describe."""


class VendorError(Exception):
    """A vendor refused a request, or its answer can't be read. `problem` gives the reason, without the data that was sent."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


FAILURES: Final = (VendorError, NoToken, NoAnswer, SettingsError, RateLimited)
"""The exceptions that a request to a vendor raises."""


def outcome_of(failure: Exception, wrong_address: str) -> Outcome:
    """The outcome of a lead that may safely be sent again, for one of `FAILURES`.

    `wrong_address` tells a person that the address is not the vendor's, and which setting to check.
    """
    match failure:
        case VendorError():
            return failure.problem.outcome()
        case NoToken():
            return failure.outcome
        case NoAnswer():
            return unanswered(failure, wrong_address)
        case RateLimited():
            return Retry(NO_TURN, ours=True)
        case SecretOutOfReach():
            return Retry(KEY_VAULT, OWN_OUTAGE_SECONDS, ours=True)
        case _:
            return Misconfigured(str(failure), "settings")


def unanswered(error: NoAnswer, wrong_address: str) -> Misconfigured | Retry:
    """The outcome of a request without an answer."""
    if error.failure is Failure.ADDRESS_REFUSED:
        return Misconfigured(
            "The address is not public: enter a public address, or allow its network in LEADS_ALLOWED_NETWORKS.",
            error.failure,
        )
    if error.failure is Failure.TLS:
        return Misconfigured(wrong_address, error.failure)
    return Retry(error.failure)


def check_result(outcome: Outcome, out_of_reach: str, addresses: str = "url") -> CheckResult:
    """The result of a check with this outcome.

    `out_of_reach` says who did not answer. `addresses` are the settings that name the vendor's addresses.
    """
    match outcome:
        case Delivered() | Skipped():
            return CheckResult(ok=True)
        case Misconfigured() | Rejected():
            return CheckResult(ok=False, problem=outcome.reason, code=outcome.code)
        case Retry(code=code) if code == KEY_VAULT:
            words = "Key Vault did not answer: check LEADS_KEY_VAULT_URI, its network, and the app's identity."
            return CheckResult(ok=False, problem=words, code=code, transient=True)
        case Retry(code=code) if code == NO_TURN:
            return CheckResult(ok=False, problem="too many calls are waiting for their turn", code=code, transient=True)
        case Retry(code=Failure.NO_SUCH_HOST):
            # Transient, because a wrong name and a DNS outage give the same error.
            words = f"No host has this name: check {addresses}."
            return CheckResult(ok=False, problem=words, code=outcome.code, transient=True)
        case _:
            return CheckResult(ok=False, problem=out_of_reach, code=outcome.code, transient=True)


def check_of(
    needed: Sequence[Callable[[], str]],
    extras: Sequence[Callable[[], str]],
    result_of: Callable[[Exception], CheckResult],
) -> CheckResult:
    """The result of a check that consists of parts. `result_of` turns one of `FAILURES` into a result. Raises `RateLimited`.

    Each part returns what to change, "" if nothing. The first part shows whether the vendor answers. In a later part, an answer
    that can't be used (too large, unreadable, late) proves nothing against the connection. `extras` check what leads can be
    stored without, such as an owner.
    """
    notes: list[CheckResult] = []
    for number, part in enumerate([*needed, *extras]):
        is_needed = number < len(needed)
        try:
            problem = part()
            found = CheckResult(ok=not problem, problem=problem, code="check" if problem else "")
        except RateLimited:
            raise  # the following parts would wait in vain too
        except FAILURES as failure:
            found = result_of(failure)
            if not (is_needed and _speaks_against(failure, is_first=number == 0)):
                is_needed = False
                found = replace(found, problem=f"The check is incomplete ({found.code}).")
        if is_needed and not found.ok:
            return found
        if not found.ok:
            notes.append(found)
    words = " ".join(dict.fromkeys(note.problem for note in notes))
    return CheckResult(ok=True, problem=words, code=notes[0].code if notes else "")


def _speaks_against(failure: Exception, *, is_first: bool) -> bool:
    """Whether a failed part proves that the connection can't be used, or that the vendor can't be reached."""
    outcome = outcome_of(failure, "")
    is_unusable = isinstance(outcome, Rejected) or outcome == Retry(Failure.ANSWER_TOO_LARGE)
    return isinstance(outcome, Misconfigured) or (is_first and not is_unusable)


def unless_gone(read: Callable[[], T]) -> T | None:
    """The result of `read`. None if the vendor answers that the record does not exist. Raises the other `FAILURES`."""
    try:
        return read()
    except VendorError as refused:
        if refused.problem.kind is not ErrorKind.GONE:
            raise
        return None
