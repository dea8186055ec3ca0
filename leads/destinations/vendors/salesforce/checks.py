"""The check of a Salesforce connection: rights, fields, and the targets of follow-ups."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from leads.core.lead import Stage
from leads.destinations.crm import Checks
from leads.destinations.follow_up import FollowUp
from leads.destinations.rest import json_objects
from leads.destinations.vendors.salesforce.client import Client, equals, select
from leads.destinations.vendors.salesforce.fields import LeadFields
from leads.destinations.vendors.salesforce.records import DEFAULT_MAPPING, is_user, owner_id
from leads.destinations.vendors.salesforce.settings import SalesforceSettings

_TASK_FIELDS: Final = ("WhoId", "Subject", "Description")
_RIGHT_NAMES: Final = {"queryable": "Read", "createable": "Create", "updateable": "Edit"}


class Checking(Checks):
    """Checks what leads need of an organisation, and the targets of follow-ups."""

    _settings: SalesforceSettings
    _client: Client

    def __init__(self, destination: Any, client: Client) -> None:
        super().__init__(destination, client)
        self._known: LeadFields = destination.fields

    @property
    def needed(self) -> list[Callable[[], str]]:
        return [self._problem_with_leads, self._problem_with_tasks, self._problem_with_rule]

    @property
    def extras(self) -> list[Callable[[], str]]:
        return [partial(self._missing_target, stage, wanted) for stage, wanted in self._follow_up.items()]

    def _problem_with_leads(self) -> str:
        description = self._client.describe("Lead")
        self._known.learn(description)
        if problem := _lacking("Lead", description, ("queryable", "createable", "updateable")):
            return problem
        key = self._settings.external_id_field
        problem = self._known.problem_with_key(key) if key else ""
        if not problem and self._settings.match_existing == "email":
            problem = self._known.problem_with_search()
        return problem or self._known.problem_with(self._mapping, DEFAULT_MAPPING)

    def _problem_with_tasks(self) -> str:
        description = self._client.describe("Task")
        if problem := _lacking("Task", description, ("queryable", "createable")):
            return problem
        writable = {each.get("name") for each in json_objects(description.get("fields")) if each.get("createable")}
        hidden = [name for name in _TASK_FIELDS if name not in writable]
        return (
            f"The app's user may not write {', '.join(hidden)} of tasks: give it the permission set." if hidden else ""
        )

    def _problem_with_rule(self) -> str:
        rule = self._settings.assignment
        if rule not in {"on", "off"}:
            found = self._client.query(
                select("AssignmentRule", ["Id"], equals("Id", rule), equals("SobjectType", "Lead"))
            )
            if not found:
                return "assignment: Salesforce has no assignment rule for leads with this ID."
        return ""

    def _missing_target(self, stage: Stage, wanted: FollowUp) -> str:
        for name, query, missing in _targets(wanted):
            found = self._client.query(query)
            if not found:
                return f"follow_up.{stage}.{name}: {missing}"
            if found[0].get("IsActive") is False:
                return (
                    f"follow_up.{stage}.{name}: the user with this ID is disabled: activate it, or name another user."
                )
        if wanted.campaign and not self._client.describe("CampaignMember").get("createable"):
            words = "the app's user may not add members: make it a Marketing User, with the right on campaigns."
            return f"follow_up.{stage}.campaign: {words}"
        return ""


def _lacking(name: str, description: Mapping[str, Any], rights: tuple[str, ...]) -> str:
    lacking = [_RIGHT_NAMES[right] for right in rights if not description.get(right)]
    return (
        f"The app's user lacks the right {' and '.join(lacking)} on {name}: give it the permission set."
        if lacking
        else ""
    )


def _targets(wanted: FollowUp) -> Iterator[tuple[str, str, str]]:
    """Part, query, and the problem if the query finds nothing, for each record that a follow-up names."""
    owner = owner_id(wanted)
    if owner and is_user(owner):
        query = select("User", ["Id", "IsActive"], equals("Id", owner))
        yield "owner", query, "Salesforce has no user with this ID."
    elif owner:
        query = select("QueueSobject", ["Id"], equals("QueueId", owner), equals("SobjectType", "Lead"))
        yield "owner", query, "Salesforce has no queue for leads with this ID."
    if wanted.campaign:
        query = select("Campaign", ["Id"], equals("Id", wanted.campaign))
        yield "campaign", query, "Salesforce has no campaign with this ID."
