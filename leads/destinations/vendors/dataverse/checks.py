"""The check of a Dataverse connection: rights, columns, and the targets of follow-ups.

Sources: Microsoft Learn, "Security roles and privileges", "Queue tables" (a queue's rights are those of its items, and which
tables go to queues), "AttributeTypeCode", "Associate and disassociate table rows using the Web API" (names of lookups),
"RetrieveUserSetOfPrivilegesByNames Function", and the references of the tables User, Team and Queue.
"""

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from leads.core.lead import Stage
from leads.destinations.base import MappingValue
from leads.destinations.crm import Checks
from leads.destinations.follow_up import FollowUp
from leads.destinations.rest import as_object
from leads.destinations.vendor_errors import unless_gone
from leads.destinations.vendors.dataverse.client import Client
from leads.destinations.vendors.dataverse.columns import TABLE_PATH, described
from leads.destinations.vendors.dataverse.errors import WRONG_ADDRESS
from leads.destinations.vendors.dataverse.records import BIND, owner_path

_RIGHTS: Final = (
    "prvCreateLead",
    "prvReadLead",
    "prvWriteLead",
    "prvAppendLead",
    "prvAppendToLead",
    "prvCreateNote",
    "prvAppendNote",
    "prvReadEntity",
    "prvReadAttribute",
)
_TASK_RIGHTS: Final = ("prvCreateActivity", "prvAppendActivity")
_LOOKUPS: Final = frozenset({"Lookup", "Owner", "Customer"})
_TAKES: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    **dict.fromkeys(("Picklist", "State", "Status", "Integer", "BigInt"), ((int,), "a whole number, such as 8")),
    **dict.fromkeys(("Decimal", "Double", "Money"), ((int, float), "a number, such as 8.5")),
    "Boolean": ((bool,), "true or false"),
    **dict.fromkeys(("String", "Memo", "DateTime", "Uniqueidentifier"), ((str,), "a text")),
}
"""Column type → the Python types of its values, and words for a person. Dynamics itself checks other types."""


class Checking(Checks):
    """Checks what leads need of an environment, and the targets of follow-ups."""

    _client: Client

    def __init__(self, destination: Any, client: Client) -> None:
        super().__init__(destination, client)
        self._user = ""
        self._held: Container[str] | None = None

    @property
    def needed(self) -> list[Callable[[], str]]:
        return [self._sign_in, self._rights, self._columns]

    @property
    def extras(self) -> list[Callable[[], str]]:
        """Rights, queues and targets of follow-ups, without which leads are still stored."""
        targets = [
            partial(self._target, f"follow_up.{stage}.{name}", path, check)
            for stage, wanted in self._follow_up.items()
            for name, path, check in _targets(wanted)
        ]
        queues = [
            partial(self._queue_of_leads, stage)
            for stage, wanted in self._follow_up.items()
            if wanted.queue and wanted.task is None
        ]
        return [self._rights_of_extras, *queues, *targets]

    def _sign_in(self) -> str:
        self._user = str(self._client.get("WhoAmI").get("UserId") or "")
        return "" if self._user else WRONG_ADDRESS

    def _rights(self) -> str:
        needed, extras = _needed(self._follow_up), _needed_for_extras(self._follow_up)
        self._held = _privileges(self._client, self._user, [*needed, *extras])
        return self._lacking(needed)

    def _rights_of_extras(self) -> str:
        return self._lacking(_needed_for_extras(self._follow_up))

    def _lacking(self, rights: Iterable[str]) -> str:
        missing = [right for right in rights if self._held is not None and right not in self._held]
        if not missing:
            return ""
        return f"The application user lacks the rights {', '.join(missing)}: give it the security role of the set-up guide."

    def _columns(self) -> str:
        spellings = {spelling for name in self._mapping for spelling in _spellings(name)}
        columns = described(self._client, spellings, "AttributeType,IsValidForCreate")
        problems = ((name, _column(name, value, columns)) for name, value in self._mapping.items())
        return next((f"mapping.{name}: {problem}" for name, problem in problems if problem), "")

    def _queue_of_leads(self, stage: Stage) -> str:
        table = self._client.get(f"{TABLE_PATH}?$select=IsValidForQueue")
        if as_object(table.get("IsValidForQueue")).get("Value") is False:
            words = "leads can't go to queues in this environment: add a task, or enable the lead table for queues."
            return f"follow_up.{stage}.queue: {words}"
        return ""

    def _target(self, setting: str, path: str, check: "_TargetCheck") -> str:
        row = unless_gone(partial(self._client.get, f"{path.removeprefix('/')}?$select={check.column}"))
        if row is None:
            return f"{setting}: Dynamics has no record with this ID."
        if row.get(check.column) in check.unusable:
            return f"{setting}: {check.words}"
        if check.needs_role and "prvReadLead" not in _privileges(self._client, path[-37:-1], ["prvReadLead"]):
            return f"{setting}: the user has no security role by which they may read leads."
        return ""


@dataclass(frozen=True, slots=True)
class _TargetCheck:
    """How to recognise an unusable target: a column, its values that mean unusable, and the problem in words."""

    column: str
    unusable: tuple[int | bool, ...] = ()
    words: str = ""
    needs_role: bool = False


_USER: Final = _TargetCheck("isdisabled", (True,), "the user is disabled: name another one.", needs_role=True)
_TEAM: Final = _TargetCheck("teamtype", (1,), "an access team can own no records: name an owner team.")
_QUEUE: Final = _TargetCheck("statecode", (1,), "the queue is inactive: name another one, or activate it.")
_CAMPAIGN: Final = _TargetCheck("createdon")


def _targets(wanted: FollowUp) -> Iterator[tuple[str, str, _TargetCheck]]:
    """Part, address and way of checking, for each record that a follow-up names."""
    if wanted.owner:
        yield "owner", owner_path(wanted.owner), _USER if wanted.owner.startswith("user:") else _TEAM
    if wanted.queue:
        yield "queue", f"/queues({wanted.queue})", _QUEUE
    if wanted.campaign:
        yield "campaign", f"/campaigns({wanted.campaign})", _CAMPAIGN


def _privileges(client: Client, user: str, names: Sequence[str]) -> set[str]:
    """The rights among `names` that a user holds by own or team roles. The list of all rights would be too long."""
    function = "Microsoft.Dynamics.CRM.RetrieveUserSetOfPrivilegesByNames(PrivilegeNames=@names)"
    asked = quote(json.dumps(list(names), separators=(",", ":")), safe="")
    held = client.rows(f"systemusers({user})/{function}?@names={asked}", "RolePrivileges")
    return {str(right.get("PrivilegeName")) for right in held}


def _needed(follow_up: Mapping[Stage, FollowUp]) -> list[str]:
    tasks = _TASK_RIGHTS if any(wanted.task for wanted in follow_up.values()) else ()
    return [*_RIGHTS, *tasks]


def _needed_for_extras(follow_up: Mapping[Stage, FollowUp]) -> list[str]:
    rights: list[str] = []
    for wanted in follow_up.values():
        if wanted.owner:
            rights += ["prvAssignLead", *(["prvAssignActivity"] if wanted.task else [])]
        if wanted.queue:
            rights += ["prvReadQueue", "prvAppendToQueue"]
        if wanted.campaign:
            rights += ["prvReadCampaign", "prvAppendToCampaign"]
    return list(dict.fromkeys(rights))


def _spellings(name: str) -> tuple[str, ...]:
    """The possible names of a mapped column. A lookup's name may have capitals, and may end in the table that it refers to."""
    written = name.removesuffix(BIND)
    lookup = written.lower().rpartition("_")[0]
    return (written, written.lower(), *([lookup] if name.endswith(BIND) and lookup else []))


def _column(name: str, value: MappingValue, columns: Mapping[str, Mapping[str, Any]]) -> str:
    """The problem with one column of the mapping, "" if there is none."""
    binds = name.endswith(BIND)
    written = name.removesuffix(BIND)
    spellings = _spellings(name) if binds else (written,)
    column = next((columns[spelling] for spelling in spellings if spelling in columns), None)
    if column is None and written.lower() in columns:
        return f"column names have no capitals: write {written.lower()}."
    if column is None:
        return "the lead table has no such column; remove it from the mapping, or create the column."
    if not column.get("IsValidForCreate", True):
        return "Dynamics sets this column itself; remove it from the mapping."
    kind = str(column.get("AttributeType"))
    if kind in _LOOKUPS and not binds:
        return f"is a lookup: map {written}{BIND} to the record, such as /campaigns(ID)."
    if binds and kind in _TAKES:
        return f"is not a lookup: remove {BIND} from the name."
    kinds, words = _TAKES.get(kind, ((), ""))
    if kinds and type(value) not in kinds:
        return f"the column takes {words}."
    return ""
