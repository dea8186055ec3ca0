"""`make run DEMO=all`: one customer's journey through an offer with every destination type.

The vendors are the fakes of the tests (`tests/fakes`) on this machine. They behave as their vendors document, and keep what
arrived.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.data.tables import TableClient
from rich import box
from rich.console import Console
from rich.table import Table

from tests.fakes.dataverse import Dataverse
from tests.fakes.hubspot import HubSpot, shown_note
from tests.fakes.marketo import LIST, Marketo
from tests.fakes.salesforce import Salesforce
from tests.fakes.tls import make_authority
from tests.fakes.web_to_lead import OID, WebToLead
from tests.fakes.webhook import Receiver
from tools.demo import FINAL, SETTLE_SECONDS, call_app, run_leads
from tools.host import Host, RunError

OFFER = "contoso.journey"
TABLE = "JourneyLeads"
STAGES = ("INS", "StartTestDrive", "PLT")
JOURNEY_FIELD = "marketplaceJourney"
RATINGS = {1: "hot", 2: "warm", 3: "cold"}


@dataclass(frozen=True)
class StandIns:
    """The fake vendors, and the app settings with which the app reaches them."""

    dynamics: Dataverse
    salesforce: Salesforce
    form: WebToLead
    marketo: Marketo
    hubspot: HubSpot
    receiver: Receiver
    settings: dict[str, str]

    @property
    def offer(self) -> dict[str, Any]:
        """An offer with every destination type."""
        dynamics = self.dynamics.settings("env:LEADS_SECRET_DEMO_DYNAMICS")
        salesforce = self.salesforce.settings("env:LEADS_SECRET_DEMO_SALESFORCE")
        marketo = self.marketo.settings("env:LEADS_SECRET_DEMO_MARKETO") | {"journey_field": JOURNEY_FIELD}
        hubspot = self.hubspot.settings("env:LEADS_SECRET_DEMO_HUBSPOT")
        hook = {"url": self.receiver.url, "secret": "env:LEADS_SECRET_DEMO_WEBHOOK"}
        call_them = {"contact_requested": {"task": {"subject": "Call {first_name} {last_name}", "due_hours": 4}}}
        list_them = {"contact_requested": {"list": LIST}}
        return {
            "id": OFFER,
            "titles": ["Contoso Journey"],
            "destinations": [
                {"name": "table", "type": "azure_table", "settings": {"table": TABLE}},
                {"name": "dynamics", "type": "dataverse", "settings": dynamics, "follow_up": call_them},
                {"name": "salesforce", "type": "salesforce", "settings": salesforce, "follow_up": call_them},
                {
                    "name": "form",
                    "type": "salesforce_web_to_lead",
                    "settings": {"oid": OID, "url": self.form.url},
                },
                {"name": "marketo", "type": "marketo", "settings": marketo, "follow_up": list_them},
                {"name": "hubspot", "type": "hubspot", "settings": hubspot, "follow_up": call_them},
                {"name": "hook", "type": "webhook", "settings": hook},
            ],
        }


@contextlib.contextmanager
def stand_ins() -> Iterator[StandIns]:
    """Serve the fake vendors until the block ends."""
    webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    client_secret, consumer_secret, service_secret = (secrets.token_urlsafe(24) for _ in range(3))
    with tempfile.TemporaryDirectory(prefix="stand-ins-") as folder:
        authority = make_authority(Path(folder))
        with (
            Dataverse(authority) as dynamics,
            Salesforce(authority) as org,
            WebToLead(authority) as form,
            Marketo(authority) as instance,
            HubSpot(authority) as account,
            Receiver(authority, [webhook_secret]) as receiver,
        ):
            dynamics.entra.set_secret(client_secret)
            org.secret, instance.secret = consumer_secret, service_secret
            settings = {
                "LEADS_CA_BUNDLE": authority.bundle,
                "LEADS_ALLOWED_NETWORKS": "127.0.0.0/8",
                "LEADS_SECRET_DEMO_DYNAMICS": client_secret,
                "LEADS_SECRET_DEMO_SALESFORCE": consumer_secret,
                "LEADS_SECRET_DEMO_MARKETO": service_secret,
                "LEADS_SECRET_DEMO_HUBSPOT": account.token,
                "LEADS_SECRET_DEMO_WEBHOOK": webhook_secret,
            }
            yield StandIns(dynamics, org, form, instance, account, receiver, settings)


def configure(vendors: StandIns, storage: str) -> None:
    """Store the offer through the command line, as a publisher would."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(vendors.offer, file)
        file.flush()
        run_leads(storage, "offers", "set", file.name)


def show(vendors: StandIns, host: Host, storage: str, console: Console) -> bool:
    """Post the journey's leads, wait for them, and show each vendor's records. Returns whether each lead arrived once."""
    customer = f"robin.{secrets.token_hex(4)}@example.com"  # another one each time, also with KEEP=1
    # One after the other, because in reality days pass between the stages.
    delivered = [_wait(host, _post(host, customer, action)) == "delivered" for action in STAGES]
    console.print(
        f"\n[bold]One customer's journey[/]: {len(STAGES)} leads to the {len(vendors.offer['destinations'])} destinations of "
        f"offer {OFFER}. The vendors are stand-ins on this machine, not their services."
    )
    with TableClient.from_connection_string(storage, TABLE) as table:
        rows = [row for row in table.list_entities() if row["Email"] == customer]
    console.print(_of_table(sorted(rows, key=lambda row: str(row["RowKey"]))))
    console.print(_of_dynamics(vendors.dynamics, customer))
    console.print(_of_salesforce(vendors.salesforce, customer))
    forms = [made for made in vendors.form.leads if made["email"] == customer]
    console.print(_of_web_to_lead(forms))
    console.print(_of_marketo(vendors.marketo, customer))
    console.print(_of_hubspot(vendors.hubspot, customer))
    calls = [record for record in vendors.receiver.records.values() if record["data"]["customer"]["email"] == customer]
    console.print(_of_webhook(calls))
    records = [row for row in vendors.dynamics.leads.values() if row["emailaddress1"] == customer]
    notes = [note for row in records for note in vendors.dynamics.notes(row["leadid"])]
    leads_in = [row for row in vendors.salesforce.leads if row["Email"] == customer]
    persons = [person for person in vendors.marketo.persons.values() if person["email"] == customer]
    contacts = [contact for contact in vendors.hubspot.living() if contact.properties["email"] == customer]
    one_record = (len(records), len(leads_in), len(persons), len(contacts)) == (1, 1, 1, 1)
    stages = [stage for person in persons for stage in _stages(person)]
    told = (notes, _notes(vendors.hubspot, customer), _told(vendors.salesforce, leads_in), stages)
    right = all(delivered) and one_record and all(len(found) == len(STAGES) for found in (rows, forms, calls, *told))
    verdict = "Each lead arrived once in each destination; in Dynamics 365, Salesforce, Marketo and HubSpot they are one record."
    console.print(verdict if right else "[bold red]Not every lead arrived once in each destination.[/]")
    return right


def _post(host: Host, customer: str, action: str) -> str:
    lead = {
        "UserDetails": {
            "FirstName": "Robin",
            "LastName": "O'Neil",
            "Email": customer,
            "Company": "Example Works",
            "Country": "Ireland",
        },
        "LeadSource": f"AzureMarketplace-{action}|{OFFER}",
        "ActionCode": action,
        "OfferTitle": "Contoso Journey",
        "Description": "Please call me before noon." if action == "PLT" else "",
    }
    status, answer = call_app(host, "/api/leads", json.dumps(lead).encode(), {"Content-Type": "application/json"})
    if status != 202:
        raise RunError(f"the app answered {status} to a lead of the journey; its log: {host.log_file}")
    return str(answer["lead_id"])


def _wait(host: Host, lead_id: str) -> str:
    """Wait until the lead is settled. Returns its state."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        state = str(call_app(host, f"/api/status/{lead_id}")[1].get("state", "unknown"))
        if state in FINAL or time.monotonic() > deadline:
            return state
        time.sleep(0.1)


def _table(title: str, *columns: str) -> Table:
    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0))
    table.title_style = "bold"
    return table


def _of_table(rows: list[dict[str, Any]]) -> Table:
    table = _table(f"Azure Table {TABLE}: a row for each lead", "RowKey", "Customer", "Stage")
    for row in rows:
        table.add_row(row["RowKey"], f"{row['FirstName']} {row['LastName']}", row["Stage"])
    return table


def _of_dynamics(dynamics: Dataverse, customer: str) -> Table:
    table = _table("Dynamics 365 (stand-in): one record, a note for each stage", "", "Subject", "")
    for row in dynamics.leads.values():
        if row["emailaddress1"] == customer:
            table.add_row("lead", row["subject"], f"rated {RATINGS[row['leadqualitycode']]}")
            for note in dynamics.notes(row["leadid"]):
                table.add_row("note", note["subject"], "")
            for task in dynamics.tasks:
                if task["_regarding"] == row["leadid"]:
                    table.add_row("task", task["subject"], f"due {task['scheduledend']}")
    return table


def _of_salesforce(org: Salesforce, customer: str) -> Table:
    table = _table("Salesforce (stand-in): one record, a task for each further stage", "", "Subject", "")
    for row in org.leads:
        if row["Email"] == customer:
            table.add_row(
                "lead", f"{row['FirstName']} {row['LastName']}, {row['Company']}", f"rated {row['Rating'].lower()}"
            )
            for task in org.tasks(row["Id"]):
                is_open = task["Status"] != "Completed"
                table.add_row("task", task["Subject"], f"due {task['ReminderDateTime']}" if is_open else "completed")
    return table


def _told(org: Salesforce, leads: list[dict[str, Any]]) -> set[str]:
    """The lines with a lead id in the descriptions of the records and their tasks."""
    texts = [row["Description"] for lead in leads for row in (lead, *org.tasks(lead["Id"]))]
    return {line for text in texts for line in text.splitlines() if line.startswith("Lead: ")}


def _of_web_to_lead(forms: list[dict[str, str]]) -> Table:
    table = _table(
        "Salesforce Web-to-Lead (stand-in): a lead for each stage, unconfirmed", "Customer", "Stage", "Rating"
    )
    for made in forms:
        stage = made["description"].partition("\n")[0].removeprefix("Stage: ")
        table.add_row(f"{made['first_name']} {made['last_name']}", stage, made["rating"])
    return table


def _of_marketo(instance: Marketo, customer: str) -> Table:
    table = _table("Marketo (stand-in): one person, the journey in a field of its own", "", "", "")
    for person in instance.persons.values():
        if person["email"] == customer:
            listed = "on the list of the follow-up" if person["id"] in instance.members() else ""
            table.add_row("person", f"{person['firstName']} {person['lastName']}, rated {person['rating']}", listed)
            for line in _stages(person):
                received, what, lead_id = line.split(" · ")
                table.add_row("stage", what, f"{received} {lead_id}")
    return table


def _stages(person: dict[str, Any]) -> list[str]:
    """The lines of a person's journey, oldest first."""
    return str(person[JOURNEY_FIELD]).partition("\n\n")[0].split("\n")[::-1]


def _of_hubspot(account: HubSpot, customer: str) -> Table:
    table = _table("HubSpot (stand-in): one contact, a note for each stage", "", "", "")
    for contact in account.living():
        if contact.properties["email"] == customer:
            values = contact.properties
            table.add_row("contact", f"{values['firstname']} {values['lastname']}, {values['company']}", "")
            for note in _notes(account, customer):
                table.add_row("note", note.partition("\n")[0].removeprefix("Stage: "), "")
            for task in account.tasks.values():
                if task.contact == contact.id:
                    said = task.properties
                    table.add_row("task", said["hs_task_subject"], f"due {said['hs_timestamp']}")
    return table


def _notes(account: HubSpot, customer: str) -> list[str]:
    """The notes of a customer's contact, oldest first."""
    ids = {contact.id for contact in account.living() if contact.properties["email"] == customer}
    return [shown_note(note) for note in account.notes.values() if note.contact in ids]


def _of_webhook(calls: list[dict[str, Any]]) -> Table:
    table = _table("Webhook (stand-in): a signed call for each lead", "webhook-id", "Stage", "Customer")
    for call in sorted(calls, key=lambda call: str(call["data"]["lead_id"])):
        data = call["data"]
        table.add_row(f"{data['lead_id']}_hook", data["stage"], data["customer"]["key"])
    return table
