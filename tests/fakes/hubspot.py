"""A HubSpot account, as far as a lead connector meets it.

It behaves as HubSpot documents (developers.hubspot.com: "Contacts", "Notes", "Tasks", "Properties", "Owners", "Lists", "Using
object APIs", "Search the CRM", "Error handling", "API usage guidelines"; of the changelog "CRM API write validation enforcement"
and "Updated merge functionality for contacts and companies"). The answer 409 is as users of its client libraries report it
(HubSpot/hubspot-api-php#59). Messages repeat what was sent, as HubSpot's do. Not modelled: companies, deals, workflows.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from leads.core import clock
from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.tls import Authority

TOKEN: Final = "pat-na1-00000000-0000-4000-8000-000000000000"
OWNER: Final = "41000001"
LIST: Final = "501"
DYNAMIC_LIST: Final = "502"
ALL_SCOPES: Final = frozenset(
    {
        *("crm.objects.contacts.read", "crm.objects.contacts.write", "crm.objects.owners.read"),
        *("crm.lists.read", "crm.lists.write", "communication_preferences.write"),
    }
)
SEARCH_LAG: Final = timedelta(seconds=30)
ASSOCIATION_TYPES: Final = {"notes": 202, "tasks": 204}
ENFORCED_SINCE: Final = "2026-09"
"""From this version on, the account's required properties are required of API clients too."""
TEXT_CHARACTERS: Final = 65_536
ASSOCIATIONS_A_PAGE: Final = 100
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")


class Refused(Exception):
    """A refused request."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass
class Property:
    """A property of contacts. `required`: the account requires it of people who create a contact."""

    type: str = "string"
    options: tuple[str, ...] = ()
    read_only: bool = False
    required: bool = False
    unique: bool = False


@dataclass
class Contact:
    """A contact. `history` holds for each property who wrote it, the newest first."""

    id: str
    properties: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    secondary_emails: list[str] = field(default_factory=list)
    created_at: datetime = field(default_factory=lambda: clock.now())
    archived: bool = False
    merged_into: str = ""

    def write(self, values: Mapping[str, str], source: str = "INTEGRATION") -> None:
        for name, value in values.items():
            self.properties[name] = value
            self.history.setdefault(name, []).insert(0, {"value": value, "sourceType": source})


@dataclass
class Activity:
    """A note or a task, and the contact that it belongs to."""

    id: str
    contact: str
    properties: dict[str, str]


def error(status: int, message: str, category: str, errors: Sequence[Mapping[str, Any]] = ()) -> Response:
    """A refusal as HubSpot words it."""
    body: dict[str, Any] = {"status": "error", "message": message, "correlationId": "c0", "category": category}
    return Response(status, body | ({"errors": list(errors)} if errors else {}))


def throttled(policy: str) -> Response:
    """Too many requests: `policy` is SECONDLY, TEN_SECONDLY_ROLLING or DAILY."""
    body = {"status": "error", "message": f"You have reached your {policy} limit.", "errorType": "RATE_LIMIT"}
    return Response(429, body | {"policyName": policy})


def migrating(seconds: int) -> Response:
    """The account is being moved to another data centre."""
    return Response(477, b"Migration in progress", {"Retry-After": str(seconds), "Content-Type": "text/plain"})


def shown_note(note: Activity) -> str:
    """A note as a person sees it."""
    return unescape(note.properties["hs_note_body"].replace("<br>\n", "\n"))


class HubSpot(VendorServer):
    """The account. Read and change `contacts`, `notes`, `tasks`, `properties` and `lists` at any time."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.token = TOKEN
        self.has_expired = False
        self.scopes = set(ALL_SCOPES)
        self.tells_scopes = True
        """Whether the account answers for a token's scopes. The address has no version."""
        texts = ("email", "firstname", "lastname", "phone", "company", "jobtitle", "country", "hubspot_owner_id")
        self.properties: dict[str, Property] = {name: Property() for name in texts}
        self.properties["lifecyclestage"] = Property("enumeration", ("subscriber", "lead", "customer"))
        self.properties["hs_lead_status"] = Property("enumeration", ("NEW", "OPEN", "IN_PROGRESS"))
        self.properties["createdate"] = Property("datetime", read_only=True)
        self.contacts: dict[str, Contact] = {}
        self.notes: dict[str, Activity] = {}
        self.tasks: dict[str, Activity] = {}
        self.lists: dict[str, set[str]] = {LIST: set(), DYNAMIC_LIST: set()}
        self.unsubscribed: set[str] = set()
        self.forgotten_emails: set[str] = set()
        """The addresses of people with data deleted by the GDPR's rules."""
        self.hides_id = False
        """Whether the refusal of a taken e-mail address leaves out the contact's ID."""
        self.embeds_errors = False
        """Whether wrong values are inside the message, as with older addresses."""
        self._ids = itertools.count(6001)

    def settings(self, secret: str) -> dict[str, Any]:
        """The settings of a destination for this account. `secret` is the reference to the token."""
        return {"url": self.url, "service_key": secret}

    def set_secret(self, secret: str) -> None:
        """Replace the token."""
        self.token = secret

    def requests(self) -> int:
        """The number of requests."""
        return len(self.journal)

    # what people do

    def add_contact(self, email: str, *, secondary: Sequence[str] = (), **values: str) -> Contact:
        """Add a contact as a person."""
        made = Contact(str(next(self._ids)), secondary_emails=list(secondary))
        self.contacts[made.id] = made
        made.write({"email": email, **values}, "CRM_UI")
        return made

    def merge(self, loser: Contact, winner: Contact) -> None:
        """Merge two contacts. The old ID then leads to the other contact."""
        loser.merged_into = winner.id
        winner.secondary_emails += [loser.properties["email"], *loser.secondary_emails]
        for activity in [*self.notes.values(), *self.tasks.values()]:
            if activity.contact == loser.id:
                activity.contact = winner.id

    def living(self) -> list[Contact]:
        return [contact for contact in self.contacts.values() if not contact.archived and not contact.merged_into]

    # what it answers

    def answer(self, request: Request) -> Response:
        try:
            self._authenticate(request)
            for method, pattern, needed, act in self._routes():
                found = re.fullmatch(pattern, request.path)
                if found and method == request.method:
                    self._require(needed)
                    return act(request, *[unquote(part) for part in found.groups()])
            return Response(404, b"<html><body>Not found</body></html>", {"Content-Type": "text/html"})
        except Refused as refused:
            return refused.response

    def _routes(self) -> list[tuple[str, str, str, Callable[..., Response]]]:
        read, write = "crm.objects.contacts.read", "crm.objects.contacts.write"
        version = r"(2026-03|2026-09)"
        contacts = rf"/crm/objects/{version}/contacts"
        kind = rf"/crm/objects/{version}/(notes|tasks)"
        return [
            ("GET", rf"/account-info/{version}/details", "", self._account),
            ("POST", "/oauth/v2/private-apps/get/access-token-info", "", self._token_info),
            ("POST", rf"/crm/properties/{version}/contacts/batch/read", read, self._read_properties),
            ("POST", contacts, write, self._create),
            ("POST", f"{contacts}/batch/read", read, self._read_batch),
            ("POST", f"{contacts}/search", read, self._search),
            ("GET", rf"{contacts}/([^/]+)", read, self._read),
            ("PATCH", rf"{contacts}/([^/]+)", write, self._update),
            ("GET", rf"{contacts}/([^/]+)/associations/(notes|tasks)", read, self._associations),
            ("POST", kind, write, self._add_activity),
            ("POST", f"{kind}/batch/read", read, self._read_activities),
            ("GET", rf"/crm/owners/{version}/([^/]+)", "crm.objects.owners.read", self._owner),
            ("GET", r"/crm/lists/2026-03/([^/]+)", "crm.lists.read", self._list),
            ("PUT", r"/crm/lists/2026-03/([^/]+)/memberships/add", "crm.lists.write", self._add_to_list),
            (
                "POST",
                rf"/communication-preferences/{version}/statuses/([^/]+)/unsubscribe-all",
                "communication_preferences.write",
                self._unsubscribe,
            ),
        ]

    def _authenticate(self, request: Request) -> None:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ")
        if sent == self.token and not self.has_expired:
            return
        if sent == self.token or not sent.startswith("pat-"):
            days = "1" if sent == self.token else "20,000"
            message = f"The OAuth token used to make this call expired {days} day(s) ago."
            raise Refused(error(401, message, "EXPIRED_AUTHENTICATION"))
        raise Refused(error(401, "Authentication credentials not found.", "INVALID_AUTHENTICATION"))

    def _require(self, scope: str) -> None:
        if scope and scope not in self.scopes:
            detail = {"message": "One or more scopes are missing", "context": {"requiredGranularScopes": [scope]}}
            message = "This app hasn't been granted all required scopes to make this call."
            raise Refused(error(403, message, "MISSING_SCOPES", [detail]))

    def _account(self, request: Request, version: str) -> Response:
        return Response(200, {"portalId": 1234567, "uiDomain": "app.hubspot.com", "accountType": "STANDARD"})

    def _token_info(self, request: Request) -> Response:
        if not self.tells_scopes:
            return Response(404, b"")
        assert json.loads(request.body)["tokenKey"] == self.token
        return Response(200, {"hubId": 1234567, "appId": 1, "userId": 1, "scopes": sorted(self.scopes)})

    def _read_properties(self, request: Request, version: str) -> Response:
        names = [asked["name"] for asked in json.loads(request.body)["inputs"]]
        found = [_definition(name, self.properties[name]) for name in names if name in self.properties]
        if len(found) == len(names):
            return Response(200, {"status": "COMPLETE", "results": found})
        missing = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "Could not get some properties"}
        return Response(207, {"status": "COMPLETE", "results": found, "numErrors": 1, "errors": [missing]})

    # contacts

    def _create(self, request: Request, version: str) -> Response:
        values = json.loads(request.body)["properties"]
        self._validate(values, creates=version >= ENFORCED_SINCE)
        email = values.get("email", "").lower()
        if not any(values.get(name) for name in ("email", "firstname", "lastname")):
            raise Refused(error(400, "A contact needs an email, firstname or lastname.", "VALIDATION_ERROR"))
        if email in self.forgotten_emails:
            raise Refused(error(400, f"{email} has been GDPR blacklisted", "VALIDATION_ERROR"))
        if taken := self._with_email(email):
            message = "Contact already exists." + ("" if self.hides_id else f" Existing ID: {taken.id}")
            raise Refused(error(409, message, "CONFLICT"))
        made = Contact(str(next(self._ids)))
        self.contacts[made.id] = made
        made.write({**values, **({"email": email} if email else {})})
        return Response(201, _shown(made, ()))

    def _with_email(self, email: str) -> Contact | None:
        taken = (c for c in self.living() if email in {c.properties.get("email"), *c.secondary_emails})
        return next(taken, None) if email else None

    def _validate(self, values: Mapping[str, Any], *, creates: bool) -> None:
        wrong = [(name, code) for name, value in values.items() if (code := self._wrong_value(name, str(value)))]
        if creates:
            rules = self.properties.items()
            wrong += [
                (name, "MISSING_REQUIRED_PROPERTY") for name, rule in rules if rule.required and not values.get(name)
            ]
        if not wrong:
            return
        told = [
            {"message": f"{values.get(name)!r} is not valid", "code": code, "context": {"propertyName": [name]}}
            for name, code in wrong
        ]
        embedded = [
            {"isValid": False, "message": str(values.get(name)), "error": code, "name": name} for name, code in wrong
        ]
        message = f"Property values were not valid: {json.dumps(embedded)}"
        raise Refused(error(400, message, "VALIDATION_ERROR", () if self.embeds_errors else told))

    def _wrong_value(self, name: str, value: str) -> str:
        rule = self.properties.get(name)
        if rule is None:
            return "PROPERTY_DOESNT_EXIST"
        if rule.read_only:
            return "READ_ONLY_VALUE"
        if name == "email" and not _EMAIL.fullmatch(value):
            return "INVALID_EMAIL"
        if name == "hubspot_owner_id" and value != OWNER:
            return "INVALID_OWNER_ID"
        if rule.options and value not in rule.options:
            return "INVALID_OPTION"
        if rule.type == "number" and not re.fullmatch(r"-?\d+(\.\d+)?", value):
            return "INVALID_LONG"
        if rule.unique and any(contact.properties.get(name) == value for contact in self.living()):
            return "CONFLICTING_UNIQUE_VALUE"
        return "INVALID_STRING_LENGTH" if len(value) > TEXT_CHARACTERS else ""

    def _found(self, contact_id: str) -> Contact:
        found = self.contacts.get(contact_id)
        while found and found.merged_into:
            found = self.contacts[found.merged_into]
        if found is None or found.archived:
            raise Refused(Response(404, {"status": "error", "message": "resource not found", "correlationId": "c0"}))
        return found

    def _read(self, request: Request, version: str, contact_id: str) -> Response:
        found = self._found(contact_id)
        asked = parse_qs(urlsplit(request.target).query)
        shown = _shown(found, asked.get("properties", [""])[0].split(","))
        with_history = asked.get("propertiesWithHistory", [""])[0].split(",")
        shown["propertiesWithHistory"] = {name: found.history[name] for name in with_history if name in found.history}
        kinds = asked.get("associations", [""])[0].split(",")
        pages = {kind: self._page(found, kind, ASSOCIATIONS_A_PAGE) for kind in kinds if kind}
        shown["associations"] = {kind: page for kind, page in pages.items() if page["results"]}
        return Response(200, shown)

    def _page(self, contact: Contact, kind: str, size: int) -> dict[str, Any]:
        """The oldest first: the order is documented nowhere."""
        ids = [activity.id for activity in self._activities(kind).values() if activity.contact == contact.id]
        page: dict[str, Any] = {"results": [{"id": each, "toObjectId": each, "type": kind} for each in ids[:size]]}
        return page | ({"paging": {"next": {"after": ids[size]}}} if len(ids) > size else {})

    def _associations(self, request: Request, version: str, contact_id: str, kind: str) -> Response:
        return Response(200, self._page(self._found(contact_id), kind, int(request.query.get("limit", "100"))))

    def _read_batch(self, request: Request, version: str) -> Response:
        """By `idProperty` email it finds secondary addresses, too, and does not say which input it answers."""
        asked = json.loads(request.body)
        assert asked.get("idProperty") == "email"
        found = [self._with_email(each["id"].lower()) for each in asked["inputs"]]
        shown = [_shown(contact, asked.get("properties", ())) for contact in found if contact]
        if len(shown) == len(found):
            return Response(200, {"status": "COMPLETE", "results": shown})
        missing = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "Could not get some CONTACT objects"}
        return Response(207, {"status": "COMPLETE", "results": shown, "numErrors": 1, "errors": [missing]})

    def _search(self, request: Request, version: str) -> Response:
        """The search finds a contact some moments after its creation, and only by the primary address."""
        wanted = json.loads(request.body)["filterGroups"][0]["filters"][0]["value"]
        known = [contact for contact in self.living() if contact.created_at <= clock.now() - SEARCH_LAG]
        found = [_shown(contact, ()) for contact in known if contact.properties.get("email") == wanted]
        return Response(200, {"total": len(found), "results": found})

    def _update(self, request: Request, version: str, contact_id: str) -> Response:
        found = self._found(contact_id)
        values = json.loads(request.body)["properties"]
        self._validate(values, creates=False)
        found.write(values)
        return Response(200, _shown(found, ()))

    # activities

    def _activities(self, kind: str) -> dict[str, Activity]:
        return self.notes if kind == "notes" else self.tasks

    def _add_activity(self, request: Request, version: str, kind: str) -> Response:
        sent = json.loads(request.body)
        values = sent["properties"]
        if "hs_timestamp" not in values:
            detail = {"code": "MISSING_REQUIRED_PROPERTY", "context": {"propertyName": ["hs_timestamp"]}}
            raise Refused(error(400, "hs_timestamp is required", "VALIDATION_ERROR", [detail]))
        if len(values.get("hs_note_body", "")) > TEXT_CHARACTERS:
            raise Refused(error(400, f"too long: {values['hs_note_body']}", "VALIDATION_ERROR"))
        if values.get("hubspot_owner_id", OWNER) != OWNER:
            detail = {"code": "INVALID_OWNER_ID", "context": {"propertyName": ["hubspot_owner_id"]}}
            raise Refused(error(400, "no such owner", "VALIDATION_ERROR", [detail]))
        [association] = sent["associations"]
        [how] = association["types"]
        assert how == {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": ASSOCIATION_TYPES[kind]}
        try:
            contact = self._found(association["to"]["id"])
        except Refused:
            raise Refused(error(400, "One or more associations are invalid", "VALIDATION_ERROR")) from None
        made = Activity(str(next(self._ids)), contact.id, values)
        self._activities(kind)[made.id] = made
        return Response(201, {"id": made.id, "properties": made.properties})

    def _read_activities(self, request: Request, version: str, kind: str) -> Response:
        asked = json.loads(request.body)
        assert len(asked["inputs"]) <= 100
        known = self._activities(kind)
        found = [known[each["id"]] for each in asked["inputs"] if each["id"] in known]
        shown = [
            {"id": each.id, "properties": {name: each.properties.get(name) for name in asked["properties"]}}
            for each in found
        ]
        return Response(200 if len(found) == len(asked["inputs"]) else 207, {"status": "COMPLETE", "results": shown})

    # what a follow-up names

    def _owner(self, request: Request, version: str, owner: str) -> Response:
        if owner != OWNER:
            raise Refused(error(404, "owner not found", "OBJECT_NOT_FOUND"))
        return Response(200, {"id": OWNER, "archived": False})

    def _members(self, list_id: str) -> set[str]:
        if list_id not in self.lists:
            raise Refused(error(404, "list not found", "OBJECT_NOT_FOUND"))
        return self.lists[list_id]

    def _list(self, request: Request, list_id: str) -> Response:
        self._members(list_id)
        kind = "DYNAMIC" if list_id == DYNAMIC_LIST else "MANUAL"
        return Response(200, {"list": {"listId": list_id, "processingType": kind}})

    def _add_to_list(self, request: Request, list_id: str) -> Response:
        members = self._members(list_id)
        if list_id == DYNAMIC_LIST:
            raise Refused(error(400, "The list is dynamic", "VALIDATION_ERROR"))
        members.update(json.loads(request.body))
        return Response(200, {"recordIdsAdded": sorted(members)})

    def _unsubscribe(self, request: Request, version: str, email: str) -> Response:
        assert request.query == {"channel": "EMAIL"}
        self.unsubscribed.add(email)
        return Response(200, {"status": "COMPLETE", "results": []})


def _shown(contact: Contact, names: Sequence[str]) -> dict[str, Any]:
    asked = {name: contact.properties.get(name) for name in names if name}
    return {"id": contact.id, "properties": asked or dict(contact.properties), "archived": False}


def _definition(name: str, known: Property) -> dict[str, Any]:
    options = [{"label": value.title(), "value": value, "hidden": False} for value in known.options]
    return {
        "name": name,
        "type": known.type,
        "options": options,
        "hasUniqueValue": known.unique,
        "modificationMetadata": {"readOnlyValue": known.read_only, "readOnlyDefinition": True, "archivable": False},
    }
