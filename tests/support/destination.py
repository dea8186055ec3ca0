"""A destination without queue and ledger. The customer's data of the ledger is kept here."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from ipaddress import ip_network
from itertools import count
from typing import Any
from uuid import uuid4

from leads import destinations
from leads.core import clock
from leads.core.lead import Stage, stage_of
from leads.core.lead_parsing import parse_body
from leads.core.outcomes import Delivered, Outcome
from leads.destinations.base import CheckResult, Context, Customer, Destination, OutgoingLead
from leads.destinations.follow_up import FollowUp, follow_up_of
from leads.platform.secrets import Secrets
from leads.platform.settings import Settings
from leads.platform.storage import Storage
from tests.support.pipeline import a_lead

_NUMBERS = count(1)


def new_customer(key: str) -> Customer:
    """A customer as after the first claim."""
    return Customer(sha256(key.encode()).hexdigest()[:32], idempotency_key=str(uuid4()))


@dataclass
class Instance:
    """The parts of an app that destinations use. `secrets`: its app settings."""

    bundle: str
    secrets: dict[str, str]
    storage: str = ""

    @cached_property
    def context(self) -> Context:
        settings = Settings.model_validate({"LEADS_CA_BUNDLE": self.bundle, "LeadsStorage": self.storage})
        settings = settings.model_copy(update={"allowed_networks": (ip_network("127.0.0.0/8"),)})
        return Context(settings, Secrets(settings, self.secrets), Storage(settings))

    def make(self, config: Mapping[str, Any]) -> Destination:
        """The destination of an offer's entry."""
        wanted = {Stage(stage): FollowUp.model_validate(asked) for stage, asked in config.get("follow_up", {}).items()}
        destinations.check_follow_ups(config["type"], wanted)
        return destinations.make(config["type"], config["settings"], self.context, config.get("mapping"), wanted)


@dataclass
class Alone:
    """Sends leads to one destination. `policies` are the offer's."""

    destination: Destination
    policies: dict[str, str] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    sent: list[OutgoingLead] = field(default_factory=list)
    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))

    def send(self, action: str = "INS", email: str = "ada@example.com", **changes: Any) -> Outcome:
        """A lead's first try."""
        lead = parse_body(json.dumps(a_lead(email, action, **changes)).encode())
        stage = stage_of(lead.action)
        outgoing = OutgoingLead(
            f"{clock.now():%Y%m%d%H%M%S}000-{next(_NUMBERS):012d}-c",
            lead,
            "contoso.crm",
            "crm",
            stage,
            clock.now(),
            follow_up=follow_up_of(stage, self.destination.follow_up),
            set_do_not_contact=stage is Stage.CROSS_LISTED and self.policies.get("dnc", "flag") == "flag",
            overwrite=self.policies.get("existing_records") == "overwrite",
        )
        self.sent.append(outgoing)
        return self.again()

    def again(self, which: int = -1) -> Outcome:
        """Another try of the lead that was sent last, or of the given lead."""
        outgoing = self.sent[which]
        email = outgoing.lead.email
        customer = self.customers.setdefault(email, new_customer(email or outgoing.lead_id))
        outcome = self.destination.send(outgoing, customer)
        self.outcomes[outgoing.lead_id].append(outcome)
        if isinstance(outcome, Delivered):
            memory = customer.memory if outcome.memory is None else outcome.memory
            record_id = outcome.record_id or customer.record_id
            customer = replace(customer, record_id=record_id, memory=memory)
        self.customers[email] = replace(customer, idempotency_key=str(uuid4())) if outcome.key_refused else customer
        return outcome

    def forget(self) -> None:
        """As if no answer had come back: the customers are claimed, and nothing else is stored."""
        self.customers = {name: replace(known, record_id="", memory={}) for name, known in self.customers.items()}

    def check(self) -> CheckResult:
        return self.destination.check()
