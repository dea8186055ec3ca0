"""Salesforce over its REST API: one lead record for each customer, and a task for each further stage of the journey.

A record is made under a key that can be computed again or was stored before, and what belongs to a later stage is stored in one
transaction, whole or not at all, after a look whether it is there: whatever is sent twice is there once.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final

from leads.core.lead import Stage
from leads.core.outcomes import Outcome
from leads.destinations.base import (
    CheckResult,
    Customer,
    DestinationSettings,
    MappingValue,
    OutgoingLead,
)
from leads.destinations.crm import Crm
from leads.destinations.follow_up import FollowUp
from leads.destinations.tokens import TokenSource
from leads.destinations.vendor_errors import UNREADABLE
from leads.destinations.vendors.salesforce.client import Client, equals, select
from leads.destinations.vendors.salesforce.errors import WRONG_ADDRESS, Refusal
from leads.destinations.vendors.salesforce.fields import LeadFields
from leads.destinations.vendors.salesforce.preview import PreviewClient
from leads.destinations.vendors.salesforce.records import DEFAULT_MAPPING, is_user, owner_id
from leads.destinations.vendors.salesforce.sending import Sending
from leads.destinations.vendors.salesforce.settings import SalesforceSettings, id_pattern
from leads.destinations.vendors.salesforce.sign_in import token_source

_TASK_FIELDS: Final = ("WhoId", "Subject", "Description")


class Salesforce(Crm):
    """See the module."""

    Settings: ClassVar[type[DestinationSettings]] = SalesforceSettings
    replay_warning = (
        "Salesforce has the record and its tasks already: nothing is written twice, unless people have deleted them."
    )
    settings: SalesforceSettings
    wrong_address = WRONG_ADDRESS
    out_of_reach = "Salesforce did not answer"
    client_class = Client
    preview_class = PreviewClient
    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = DEFAULT_MAPPING
    follow_ups: ClassVar[frozenset[str]] = frozenset({"rating", "owner", "task", "campaign"})
    follow_up_ids: ClassVar[Mapping[str, tuple[str, str]]] = {
        "owner": (
            f"user:{id_pattern('005')}|queue:{id_pattern('00G')}",
            "user:ID or queue:ID with the ID as in Salesforce",
        ),
        "campaign": (id_pattern("701"), "the campaign's ID as in Salesforce"),
    }

    @classmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, SalesforceSettings)  # noqa: S101
        credential = (settings.client_id, settings.client_secret, settings.username, settings.private_key)
        return (settings.base_url.lower(), *(part or "" for part in credential), settings.audience)

    @classmethod
    def check_mapping(cls, name: str, value: MappingValue) -> None:
        super().check_mapping(name, value)
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            raise ValueError("is no field of leads: write its API name, such as Offer__c")

    def token_source(self) -> TokenSource:
        return token_source(self.settings, self.context, self.http)

    @property
    def fields(self) -> LeadFields:
        """What the organisation's lead fields are, as far as this instance has learnt it."""
        return self.context.shared(("salesforce fields", self.connection), LeadFields)

    def record_link(self, record_id: str) -> str:
        return f"{self.settings.base_url}/{record_id}"

    def parts_of_check(self) -> tuple[Sequence[Callable[[], str]], Sequence[Callable[[], str]]]:
        needed = (self._problem_with_leads, self._problem_with_tasks, self._problem_with_rule)
        targets = [partial(self._missing_target, stage, wanted) for stage, wanted in self.follow_up.items()]
        return needed, targets

    def result_of(self, failure: Exception) -> CheckResult:
        found = super().result_of(failure)
        return replace(found, problem=WRONG_ADDRESS, transient=False) if found.code == UNREADABLE.code else found

    def outcome_of(self, failure: Exception) -> Outcome:
        of_key = isinstance(failure, Refusal) and failure.of_key
        return replace(super().outcome_of(failure), key_refused=of_key)

    def sending(self, client: Any, outgoing: OutgoingLead, customer: Customer) -> Sending:
        scope = self.record_scope(outgoing.offer, outgoing.destination)
        return Sending(self.settings, client, self.fields, self.mapping, scope, outgoing, customer)

    def _problem_with_leads(self) -> str:
        description = self.client.describe("Lead")
        self.fields.learn(description)
        if problem := _lacking("Lead", description, ("queryable", "createable", "updateable")):
            return problem
        key = self.settings.external_id_field
        problem = self.fields.problem_with_key(key) if key else ""
        if not problem and self.settings.match_existing == "email":
            problem = self.fields.problem_with_search()
        return problem or self.fields.problem_with(self.mapping, DEFAULT_MAPPING)

    def _problem_with_tasks(self) -> str:
        description = self.client.describe("Task")
        if problem := _lacking("Task", description, ("queryable", "createable")):
            return problem
        writable = {field.get("name") for field in description.get("fields") or [] if field.get("createable")}
        hidden = [name for name in _TASK_FIELDS if name not in writable]
        return (
            f"The app's user may not write {', '.join(hidden)} of tasks: give it the permission set." if hidden else ""
        )

    def _problem_with_rule(self) -> str:
        rule = self.settings.assignment
        if rule not in {"on", "off"}:
            found = self.client.query(
                select("AssignmentRule", ["Id"], equals("Id", rule), equals("SobjectType", "Lead"))
            )
            if not found:
                return "assignment: Salesforce has no assignment rule for leads with this ID."
        return ""

    def _missing_target(self, stage: Stage, wanted: FollowUp) -> str:
        for name, query, missing in _targets(wanted):
            found = self.client.query(query)
            if not found:
                return f"follow_up.{stage}.{name}: {missing}"
            if found[0].get("IsActive") is False:
                return f"follow_up.{stage}.{name}: the user with this ID is disabled: activate it, or name another one."
        if wanted.campaign and not self.client.describe("CampaignMember").get("createable"):
            words = "the app's user may not add members: it has to be a Marketing User, with the right on campaigns."
            return f"follow_up.{stage}.campaign: {words}"
        return ""


destination = Salesforce

_RIGHT_NAMES: Final = {"queryable": "Read", "createable": "Create", "updateable": "Edit"}


def _lacking(name: str, description: Mapping[str, Any], rights: tuple[str, ...]) -> str:
    lacking = [_RIGHT_NAMES[right] for right in rights if not description.get(right)]
    return (
        f"The app's user lacks the right {' and '.join(lacking)} on {name}: give it the permission set."
        if lacking
        else ""
    )


def _targets(wanted: FollowUp) -> Iterator[tuple[str, str, str]]:
    """For each record that a follow-up names: the part, a query that finds it, and words if it does not."""
    owner = owner_id(wanted)
    if owner and is_user(owner):
        query = select("User", ["Id", "IsActive"], equals("Id", owner))
        yield "owner", query, "Salesforce has no user with this ID."
    elif owner:
        query = select("QueueSobject", ["Id"], equals("QueueId", owner), equals("SobjectType", "Lead"))
        yield "owner", query, "Salesforce has no queue for leads with this ID."
    if wanted.campaign:
        yield "campaign", select("Campaign", ["Id"], equals("Id", wanted.campaign)), "Salesforce has none with this ID."
