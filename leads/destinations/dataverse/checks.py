"""What a check of the connection looks at: rights, columns and follow-up targets, and what to change where one is missing.

Sources: Microsoft Learn, "Security roles and privileges", "Queue tables" (a queue's rights are those of its items, and which
tables go to queues), "AttributeTypeCode", "Associate and disassociate table rows using the Web API" (names of lookups).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from leads.destinations.base import MappingValue
from leads.destinations.dataverse.client import Client
from leads.destinations.dataverse.errors import WRONG_ADDRESS
from leads.destinations.dataverse.records import BIND, COLUMNS_PATH, TABLE_PATH, owner_path
from leads.destinations.follow_up import FollowUp
from leads.destinations.refusals import UNREADABLE, Kind, Refused
from leads.lead import Stage

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
"""What a column of a type is filled with; other types are left to Dynamics."""


def first_problem(client: Client, mapping: Mapping[str, MappingValue], follow_up: Mapping[Stage, FollowUp]) -> str:
    """What to change first, "" if everything that leads need is there. Raises what the client raises."""
    return _rights(client, follow_up) or _columns(client, mapping) or _targets(client, follow_up)


def _rights(client: Client, follow_up: Mapping[Stage, FollowUp]) -> str:
    try:
        user = client.get("WhoAmI").get("UserId")
    except Refused as refused:
        if refused.problem is UNREADABLE:
            return WRONG_ADDRESS
        raise
    if not user:
        return WRONG_ADDRESS
    held = client.rows(f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges", "RolePrivileges")
    names = {right.get("PrivilegeName") for right in held}
    missing = [right for right in dict.fromkeys(_needed(follow_up)) if right not in names]
    if not missing:
        return ""
    return f"The application user lacks the rights {', '.join(missing)}: give it the security role of the set-up guide."


def _needed(follow_up: Mapping[Stage, FollowUp]) -> Iterator[str]:
    yield from _RIGHTS
    for wanted in follow_up.values():
        if wanted.task:
            yield from _TASK_RIGHTS
        if wanted.owner:
            yield from ("prvAssignLead", *(("prvAssignActivity",) if wanted.task else ()))
        if wanted.queue:
            yield from ("prvReadQueue", "prvAppendToQueue")
        if wanted.campaign:
            yield from ("prvReadCampaign", "prvAppendToCampaign")


def _columns(client: Client, mapping: Mapping[str, MappingValue]) -> str:
    found = client.rows(f"{COLUMNS_PATH}?$select=LogicalName,AttributeType,IsValidForCreate")
    columns = {str(column.get("LogicalName")): column for column in found}
    problems = ((name, _column(name, value, columns)) for name, value in mapping.items())
    return next((f"mapping.{name}: {problem}" for name, problem in problems if problem), "")


def _column(name: str, value: MappingValue, columns: Mapping[str, Mapping[str, Any]]) -> str:
    """What is wrong with one column of the mapping, "" if nothing is."""
    binds = name.endswith(BIND)
    written = name.removesuffix(BIND)
    # The name of a lookup may have capitals, and that of one to several tables ends in the table it points to.
    spellings = (written.lower(), written.lower().rpartition("_")[0]) if binds else (written,)
    column = next((columns[spelling] for spelling in spellings if spelling in columns), None)
    if column is None and written.lower() in columns:
        return f"column names have no capitals: write {written.lower()}."
    if column is None:
        return "the lead table has no such column; take it out of the mapping, or make it."
    if not column.get("IsValidForCreate", True):
        return "Dynamics sets this column itself; take it out of the mapping."
    kind = str(column.get("AttributeType"))
    if kind in _LOOKUPS and not binds:
        return f"is a lookup: map {written}{BIND} to the record, such as /campaigns(ID)."
    if binds and kind in _TAKES:
        return f"is no lookup: leave {BIND} out of its name."
    kinds, words = _TAKES.get(kind, ((), ""))
    if kinds and type(value) not in kinds:
        return f"the column takes {words}."
    return ""


def _targets(client: Client, follow_up: Mapping[Stage, FollowUp]) -> str:
    for stage, wanted in follow_up.items():
        if wanted.queue and not wanted.task and not _leads_go_to_queues(client):
            return f"follow_up.{stage}.queue: leads do not go to queues here: add a task, or enable the lead table for queues."
        targets = {
            "owner": owner_path(wanted.owner) if wanted.owner else "",
            "queue": f"/queues({wanted.queue})" if wanted.queue else "",
            "campaign": f"/campaigns({wanted.campaign})" if wanted.campaign else "",
        }
        for name, path in targets.items():
            if path and not _exists(client, path.removeprefix("/")):
                return f"follow_up.{stage}.{name}: Dynamics has none with this ID."
    return ""


def _leads_go_to_queues(client: Client) -> bool:
    found = client.get(f"{TABLE_PATH}?$select=IsValidForQueue").get("IsValidForQueue")
    return not isinstance(found, dict) or found.get("Value") is not False


def _exists(client: Client, path: str) -> bool:
    try:
        client.get(f"{path}?$select=createdon")
    except Refused as refused:
        if refused.problem.kind is Kind.GONE:
            return False
        raise
    return True
