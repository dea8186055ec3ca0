"""Requests to HubSpot's API, and the client for previews.

Sources (developers.hubspot.com): "Contacts", "Notes", "Tasks", "Associations", "Lists", "Properties", "Owners"; for the answer
409 HubSpot/hubspot-api-php#59.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from leads.destinations.http import Answer
from leads.destinations.rest import ApiRequest, PreviewingClient, RestClient, as_object, json_objects, json_texts
from leads.destinations.vendor_errors import UNREADABLE, VendorError
from leads.destinations.vendors.hubspot.errors import problem_of

VERSION: Final = "2026-09"
"""Supported until about March 2028 (developers.hubspot.com, "Versioning")."""
CONTACTS: Final = f"/crm/objects/{VERSION}/contacts"
LISTS: Final = "/crm/lists/2026-03"
NEW_CONTACT: Final = "<id of the contact>"
_SCOPES_PATH: Final = "/oauth/v2/private-apps/get/access-token-info"
_ASSOCIATIONS: Final[Mapping[str, int]] = {"notes": 202, "tasks": 204}
_BODIES: Final[Mapping[str, str]] = {"notes": "hs_note_body", "tasks": "hs_task_body"}
_A_PAGE: Final = 500
_A_BATCH: Final = 100
_EXISTING: Final = re.compile(r"Existing ID:\s*(\d+)")


class EmailTaken(VendorError):
    """Another contact has the e-mail address. `contact` is the contact's ID, "" if HubSpot does not send the ID."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(problem_of(answer))
        existing = _EXISTING.search(answer.body.decode(errors="replace"))
        self.contact = existing.group(1) if existing else ""


class Client(RestClient):
    """See the module."""

    def raise_refusal(self, answer: Answer) -> None:
        if answer.status == 409:
            raise EmailTaken(answer)
        if answer.status >= 300:
            raise VendorError(problem_of(answer))

    def contact(self, contact_id: str, names: Iterable[str]) -> dict[str, Any]:
        """A contact with these properties and their history, and with the IDs of its notes and tasks."""
        asked = ",".join(names)
        path = f"{CONTACTS}/{contact_id}?properties={asked}&propertiesWithHistory={asked}&associations=notes,tasks"
        return _with_id(self.get_json(path))

    def create(self, properties: Mapping[str, Any]) -> str:
        """Create a contact. Returns its ID. Raises `EmailTaken`."""
        return str(_with_id(self.send_json("POST", CONTACTS, {"properties": properties}))["id"])

    def with_email(self, email: str) -> str:
        """The ID of the contact with this e-mail address (primary or additional), "" if there is none."""
        asked = {"idProperty": "email", "properties": ["email"], "inputs": [{"id": email}]}
        found = json_objects(self.send_json("POST", f"{CONTACTS}/batch/read", asked).get("results"))
        return str(_with_id(found[0])["id"]) if found else ""

    def activities(self, kind: str, contact: Mapping[str, Any], at_most: int) -> Iterator[str]:
        """The texts of the contact's newest notes or tasks. Of more than 500, only the first 500 of HubSpot's list count."""
        page = as_object(as_object(contact.get("associations")).get(kind))
        if "paging" in page:
            page = self.get_json(f"{CONTACTS}/{contact['id']}/associations/{kind}?limit={_A_PAGE}")
        ids = {str(each.get("id")) for each in json_objects(page.get("results"))}
        newest = sorted(filter(str.isdecimal, ids), key=int, reverse=True)[:at_most]
        for start in range(0, len(newest), _A_BATCH):
            asked = {
                "properties": [_BODIES[kind]],
                "inputs": [{"id": each} for each in newest[start : start + _A_BATCH]],
            }
            answer = self.send_json("POST", f"/crm/objects/{VERSION}/{kind}/batch/read", asked)
            found = json_objects(answer.get("results"))
            yield from (str(as_object(each.get("properties")).get(_BODIES[kind])) for each in found)

    def add_activity(self, kind: str, contact_id: str, body: str, properties: Mapping[str, str]) -> None:
        """Add a note or a task to a contact."""
        how = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": _ASSOCIATIONS[kind]}
        association = {"to": {"id": contact_id}, "types": [how]}
        content = {"properties": {**properties, _BODIES[kind]: body}, "associations": [association]}
        self.send_json("POST", f"/crm/objects/{VERSION}/{kind}", content)

    def add_to_list(self, list_id: str, contact_id: str) -> None:
        self.send_json("PUT", f"{LISTS}/{list_id}/memberships/add", [contact_id])

    def unsubscribe(self, email: str) -> None:
        """Opt out of all e-mail. The path holds the address, because only Marketing Hub Enterprise allows it in a body."""
        path = f"/communication-preferences/{VERSION}/statuses/{quote(email, safe='')}/unsubscribe-all?channel=EMAIL"
        self.send_json("POST", path, {})

    def properties(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The existing contact properties among these names."""
        asked = {"archived": False, "inputs": [{"name": name} for name in names]}
        found = self.send_json("POST", f"/crm/properties/{VERSION}/contacts/batch/read", asked).get("results")
        return {str(each.get("name")): each for each in json_objects(found)}

    def scopes(self) -> list[str]:
        """The scopes of the token."""
        return json_texts(self.send_json("POST", _SCOPES_PATH, {"tokenKey": self._tokens.get().value}).get("scopes"))


def _with_id(record: dict[str, Any]) -> dict[str, Any]:
    """The record itself. Raises `VendorError` if the record has no ID."""
    if not isinstance(record.get("id"), str | int):
        raise VendorError(UNREADABLE)
    return record


class PreviewClient(PreviewingClient, Client):
    """Answers as HubSpot does if all requests succeed."""

    def note(self, request: ApiRequest) -> str:
        return "" if request.path == CONTACTS else f"The new contact's id is written as {NEW_CONTACT} here."

    def answer(self, request: ApiRequest) -> Answer:  # noqa: ARG002 - all requests get the same answer
        return Answer(201, {}, b'{"id": "%s"}' % NEW_CONTACT.encode())
