"""A Dynamics 365 environment and its tenant, as far as a lead connector meets them.

It behaves as Microsoft documents: "Compose HTTP requests and handle errors", "Perform conditional operations using the Web API",
"Execute batch operations using the Web API", "Service protection API limits", "lead table reference"; Entra ID's token endpoint
as in "OAuth 2.0 client credentials flow". A note's text is HTML: "Note (Annotation) table reference", FormatName RichText.
Not modelled: security roles by depth, plug-ins, column security, $expand, paging.
"""

from __future__ import annotations

import json
import re
import secrets
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes
from email.policy import HTTP
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import unquote

from leads.core import clock
from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.tls import Authority
from tests.fakes.undo import Undo

TENANT: Final = "11111111-1111-4111-8111-111111111111"
CLIENT: Final = "22222222-2222-4222-8222-222222222222"
APP_USER: Final = "33333333-3333-4333-8333-333333333333"
PERSON: Final = "44444444-4444-4444-8444-444444444444"
TEAM: Final = "55555555-5555-4555-8555-555555555555"
QUEUE: Final = "66666666-6666-4666-8666-666666666666"
CAMPAIGN: Final = "77777777-7777-4777-8777-777777777777"

API: Final = "/api/data/v9.2/"
RIGHTS: Final = frozenset(
    {
        *(f"prv{verb}Lead" for verb in ("Create", "Read", "Write", "Append", "AppendTo", "Assign")),
        *("prvCreateNote", "prvAppendNote", "prvCreateActivity", "prvAppendActivity", "prvAssignActivity"),
        *("prvAppendToContact", "prvAppendToOpportunity", "prvReadEntity", "prvReadAttribute"),
        *("prvReadQueue", "prvAppendToQueue", "prvReadCampaign", "prvAppendToCampaign", "prvReadUser", "prvReadTeam"),
    }
)
_CREATE_RIGHT: Final = {
    "leads": "prvCreateLead",
    "annotations": "prvCreateNote",
    "tasks": "prvCreateActivity",
    "queueitems": "prvAppendToQueue",
}
_READ_RIGHT: Final = {
    "leads": "prvReadLead",
    "queues": "prvReadQueue",
    "campaigns": "prvReadCampaign",
    "systemusers": "prvReadUser",
    "teams": "prvReadTeam",
}
_BIND_RIGHT: Final = {
    ("leads", "ownerid"): "prvAssignLead",
    ("tasks", "ownerid"): "prvAssignActivity",
    ("leads", "campaignid"): "prvAppendToCampaign",
}
_TABLES: Final = {
    "leads": ("lead", "leadid"),
    "annotations": ("annotation", "annotationid"),
    "tasks": ("task", "activityid"),
    "queueitems": ("queueitem", "queueitemid"),
    "contacts": ("contact", "contactid"),
    "opportunities": ("opportunity", "opportunityid"),
    "queues": ("queue", "queueid"),
    "campaigns": ("campaign", "campaignid"),
    "systemusers": ("systemuser", "systemuserid"),
    "teams": ("team", "teamid"),
}
_DO_NOT: Final = ("donotemail", "donotbulkemail", "donotphone", "donotpostalmail", "donotfax", "donotsendmm")
_PRIVILEGES: Final = re.compile(rf"{API}systemusers\(([0-9a-f-]{{36}})\)/Microsoft\.Dynamics\.CRM\.(\w+(?:\(.*\))?)")
_PATH: Final = re.compile(r"/?(?:api/data/v9\.2/)?(\w+)(?:\(([0-9a-fA-F-]{36})\))?")


@dataclass(frozen=True)
class Column:
    """A column of a table: its type and, for a text, how many UTF-16 code units it holds."""

    type: str = "String"
    length: int = 0
    options: tuple[int, ...] = ()
    target: str = ""


def _texts(**lengths: int) -> dict[str, Column]:
    return {name: Column("String", length) for name, length in lengths.items()}


LEAD_COLUMNS: Final[Mapping[str, Column]] = {
    **_texts(subject=300, firstname=50, lastname=50, emailaddress1=100, telephone1=50, mobilephone=20),
    **_texts(companyname=100, jobtitle=100, address1_country=80, websiteurl=200),
    "description": Column("Memo", 2000),
    "leadsourcecode": Column("Picklist", options=tuple(range(1, 11))),
    "leadqualitycode": Column("Picklist", options=(1, 2, 3)),
    **{name: Column("Boolean") for name in _DO_NOT},
    "ownerid": Column("Owner", target="systemusers teams"),
    "campaignid": Column("Lookup", target="campaigns"),
}
_COLUMNS: Final[Mapping[str, Mapping[str, Column]]] = {
    "annotations": {
        **_texts(subject=500),
        "notetext": Column("Memo", 100_000),
        **{f"objectid_{table}": Column("Lookup", target=_set) for _set, (table, _) in _TABLES.items()},
    },
    "tasks": {
        **_texts(subject=200),
        "description": Column("Memo", 2000),
        "scheduledend": Column("DateTime"),
        "prioritycode": Column("Picklist", options=(0, 1, 2)),
        "ownerid": Column("Owner", target="systemusers teams"),
        **{
            f"regardingobjectid_{_TABLES[name][0]}_task": Column("Lookup", target=name)
            for name in ("leads", "contacts", "opportunities")
        },
    },
    "queueitems": {
        "queueid": Column("Lookup", target="queues"),
        "objectid_task": Column("Lookup", target="tasks"),
        "objectid_lead": Column("Lookup", target="leads"),
    },
}
_READ_ONLY: Final = (
    *("statecode", "statuscode", "merged", "createdon", "modifiedon", "versionnumber"),
    *("_createdby_value", "_modifiedby_value", "_masterid_value"),
    *("_parentcontactid_value", "_qualifyingopportunityid_value"),
)


_USER_FAULTS: Final = {
    "missing": ("0x80072560", "The user is not a member of the organization."),
    "disabled": ("0x80040225", "The specified user is disabled."),
    "no role": ("0x80042f09", "SecLib::RetrievePrivilegeForUser failed - no roles are assigned to user."),
}


class VendorError(Exception):
    """An answer with an OData error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.response = Response(status, {"error": {"code": code, "message": message}})


@dataclass
class Throttle:
    """A service protection limit: 429 once `left` requests are spent, with this code."""

    left: int
    code: str = "0x80072322"
    retry_after: str | None = "17"


class Entra(VendorServer):
    """The tenant's token endpoint."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.secrets: dict[str, str] = {"the secret": ""}
        """Secret → "" or "expired"."""
        self.issued: dict[str, datetime] = {}
        self.lifetime = 3600
        self.resources: set[str] = set()

    def revoke_tokens(self) -> None:
        """Refuse every token that was issued so far."""
        self.issued.clear()

    def set_secret(self, secret: str) -> None:
        """Replace the client secret."""
        self.secrets = {secret: ""}

    def expire_secrets(self) -> None:
        self.secrets = dict.fromkeys(self.secrets, "expired")

    def accepts(self, token: str) -> bool:
        return token in self.issued and clock.now() < self.issued[token]

    def answer(self, request: Request) -> Response:
        tenant, _, rest = request.path.strip("/").partition("/")
        if tenant != TENANT:
            return _token_error(90002, "invalid_request", f"Tenant '{tenant}' not found.")
        return self._token(request.form) if rest == "oauth2/v2.0/token" else Response(404)

    def _token(self, form: Mapping[str, str]) -> Response:
        if form.get("client_id") != CLIENT:
            return _token_error(
                700016, "unauthorized_client", "Application with identifier was not found in the directory."
            )
        state = self.secrets.get(form.get("client_secret", ""))
        if state is None:
            return _token_error(7000215, "invalid_client", "Invalid client secret provided.", 401)
        if state == "expired":
            return _token_error(7000222, "invalid_client", "The provided client secret keys are expired.", 401)
        if form.get("scope") not in {f"{resource}/.default" for resource in self.resources}:
            return _token_error(500011, "invalid_resource", "The resource principal was not found in the tenant.")
        token = secrets.token_urlsafe(32)
        self.issued[token] = clock.now() + timedelta(seconds=self.lifetime)
        return Response(200, {"token_type": "Bearer", "expires_in": self.lifetime, "access_token": token})


def _token_error(number: int, error: str, words: str, status: int = 400) -> Response:
    return Response(status, {"error": error, "error_description": f"AADSTS{number}: {words}", "error_codes": [number]})


@dataclass
class _State:
    """Everything that is stored: rows by entity set and ID."""

    rows: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {name: {} for name in _TABLES})
    version: int = 1000


class Dataverse(VendorServer):
    """An environment of the tenant `entra`. Tests read it and act as people in it."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.entra = Entra(authority)
        self.entra.resources.add(self.url)
        self.columns: dict[str, Column] = dict(LEAD_COLUMNS)
        self.rights: set[str] = set(RIGHTS)
        self.user = ""
        """The fault of the application user: "" for none, "missing", "disabled", or "no role"."""
        self.team_rights: set[str] = set()
        """The rights that the application user holds only by a team's roles."""
        self.people_rights: set[str] = {"prvReadLead", "prvReadActivity"}
        """The rights of every other user."""
        self.has_leads = True
        """Whether Dynamics 365 Sales is installed."""
        self.leads_go_to_queues = False
        self.duplicate_rule = False
        self.duplicate_status = 500
        self.throttle: Throttle | None = None
        self._state = _State()
        self._undo = Undo()
        for name, identifier, columns in (
            ("systemusers", APP_USER, {"isdisabled": False}),
            ("systemusers", PERSON, {"isdisabled": False}),
            ("teams", TEAM, {"teamtype": 0}),
            ("queues", QUEUE, {"statecode": 0}),
            ("campaigns", CAMPAIGN, {}),
        ):
            self._insert(name, identifier, columns, PERSON)

    def __enter__(self) -> Dataverse:
        self.entra.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.entra.__exit__(*error)

    def settings(self, secret: str) -> dict[str, Any]:
        """The settings of a destination for this environment. `secret` is the reference to the client secret."""
        return {
            "url": self.url,
            "authority": self.entra.url,
            "tenant_id": TENANT,
            "client_id": CLIENT,
            "client_secret": secret,
        }

    # What a test reads

    @property
    def leads(self) -> dict[str, dict[str, Any]]:
        return self._state.rows["leads"]

    @property
    def tasks(self) -> list[dict[str, Any]]:
        return list(self._state.rows["tasks"].values())

    @property
    def queue_items(self) -> list[dict[str, Any]]:
        return list(self._state.rows["queueitems"].values())

    def notes(self, record: str = "") -> list[dict[str, Any]]:
        """The notes of a record, or all, oldest first."""
        notes = self._state.rows["annotations"].values()
        return [note for note in notes if not record or note["_objectid_value"] == record]

    def requests(self) -> int:
        """The number of requests to the environment, without token requests."""
        return len(self.journal)

    def set_secret(self, secret: str) -> None:
        self.entra.set_secret(secret)

    def revoke_tokens(self) -> None:
        self.entra.revoke_tokens()

    # What a test does as a person

    def add_lead(self, **columns: Any) -> str:
        """Add a lead as another user. Returns its ID."""
        return self._insert("leads", str(uuid.uuid4()), _lead_defaults() | columns, PERSON)

    def change(self, entity_set: str, identifier: str, **columns: Any) -> None:
        """Change a user, a team or a queue."""
        self._touch(self._state.rows[entity_set][identifier], columns, PERSON)

    def edit(self, lead_id: str, **columns: Any) -> None:
        self._touch(self.leads[lead_id], columns, PERSON)

    def qualify(self, lead_id: str, *, opportunity: bool = True) -> tuple[str, str]:
        """Qualify a lead. Returns the IDs of its contact and opportunity."""
        contact = self._insert("contacts", str(uuid.uuid4()), {}, PERSON)
        became = {"statecode": 1, "statuscode": 3, "_parentcontactid_value": contact}
        made = self._insert("opportunities", str(uuid.uuid4()), {}, PERSON) if opportunity else ""
        self.edit(lead_id, **became, _qualifyingopportunityid_value=made or None)
        return contact, made

    def disqualify(self, lead_id: str) -> None:
        self.edit(lead_id, statecode=2, statuscode=4)

    def merge(self, subordinate: str, master: str) -> None:
        self.edit(subordinate, merged=True, statecode=2, statuscode=7, _masterid_value=master)

    def delete(self, entity_set: str, identifier: str) -> None:
        del self._state.rows[entity_set][identifier]
        for name in ("annotations", "tasks"):
            rows = self._state.rows[name]
            lost = [
                key for key, row in rows.items() if identifier in (row.get("_objectid_value"), row.get("_regarding"))
            ]
            for key in lost:
                del rows[key]

    # Requests

    def answer(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self.entra.accepts(token):
            return Response(401, b"", {"WWW-Authenticate": "Bearer error=invalid_token"})
        if self.throttle is not None:
            if self.throttle.left <= 0:
                headers = {"Retry-After": self.throttle.retry_after} if self.throttle.retry_after else {}
                words = "Number of requests exceeded the limit of 6000 over time window of 300 seconds."
                return Response(429, {"error": {"code": self.throttle.code, "message": words}}, headers)
            self.throttle.left -= 1
        try:
            self._need_a_user()
            if request.path == f"{API}$batch":
                return self._batch(request)
            return self._single(request.method, request.target, request.headers, request.body)
        except VendorError as error:
            return error.response

    def _need_a_user(self) -> None:
        if self.user:
            raise VendorError(403, *_USER_FAULTS[self.user])

    def _single(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response:
        path, _, query = target.partition("?")
        options = dict(part.partition("=")[::2] for part in query.split("&") if part)
        options = {unquote(name): unquote(value) for name, value in options.items()}
        if path == f"{API}WhoAmI" and method == "GET":
            return Response(
                200, {"UserId": APP_USER, "BusinessUnitId": str(uuid.UUID(int=1)), "OrganizationId": TENANT}
            )
        if asked := _PRIVILEGES.fullmatch(path):
            return self._privileges(asked[1], asked[2], options)
        if path.startswith(f"{API}EntityDefinitions(LogicalName='lead')"):
            self._need("prvReadEntity")
            return self._attributes(path, options.get("$filter", "")) if "/Attributes" in path else self._table()
        found = _PATH.fullmatch(path)
        if found is None or found[1] not in _TABLES or (found[1] == "leads" and not self.has_leads):
            raise VendorError(404, "0x80060888", f"Resource not found for the segment '{path.removeprefix(API)}'.")
        entity_set, identifier = found[1], (found[2] or "").lower()
        if method == "GET" and identifier:
            return Response(200, self._shown(entity_set, self._row(entity_set, identifier), options))
        if method == "GET":
            return Response(200, {"value": self._queried(entity_set, options)})
        if method == "PATCH" and identifier:
            return self._patch(entity_set, identifier, headers, body)
        raise VendorError(405, "0x80060888", "The requested resource does not support this method.")

    def _need(self, right: str) -> None:
        if right not in self.rights:
            words = f"Principal user is missing {right} privilege (SecLib::AccessCheckEx2 failed)."
            raise VendorError(403, "0x80040220", words)

    def _table(self) -> Response:
        return Response(200, {"IsValidForQueue": {"Value": self.leads_go_to_queues, "CanBeChanged": True}})

    def _privileges(self, user: str, function: str, options: Mapping[str, str]) -> Response:
        """All rights of a user's own roles, or those among the asked rights that own and team roles give."""
        self._row("systemusers", user)
        held = self.rights if user == APP_USER else self.people_rights
        if function != "RetrieveUserPrivileges":
            (parameter,) = re.findall(r"\(PrivilegeNames=(@\w+)\)", function)
            held = (held | self.team_rights) & set(json.loads(options[parameter]))
        more = {"PrivilegeId": str(uuid.UUID(int=7)), "BusinessUnitId": str(uuid.UUID(int=1)), "Depth": "Global"}
        more |= {"RecordFilterId": str(uuid.UUID(int=0)), "RecordFilterUniqueName": ""}
        return Response(200, {"RolePrivileges": [{"PrivilegeName": name, **more} for name in sorted(held)]})

    def _attributes(self, path: str, condition: str) -> Response:
        self._need("prvReadAttribute")
        kind = re.search(r"CRM\.(String|Memo)AttributeMetadata$", path)
        asked_for = {value.replace("''", "'") for value in re.findall(r"LogicalName eq '((?:[^']|'')*)'", condition)}
        rows = [
            {"LogicalName": name, "MaxLength": column.length}
            if kind
            else {"LogicalName": name, "AttributeType": column.type, "IsValidForCreate": True}
            for name, column in self.columns.items()
            if not kind or column.type == kind[1]
        ]
        if not kind:
            rows += [{"LogicalName": name, "IsValidForCreate": False} for name in ("createdon", "modifiedon")]
        shown = [row for row in rows if not condition or row["LogicalName"] in asked_for]
        of_each = {"@odata.type": "#Microsoft.Dynamics.CRM.AttributeMetadata", "MetadataId": str(uuid.UUID(int=9))}
        return Response(200, {"value": [of_each | row for row in shown]})

    # Rows

    def _row(self, entity_set: str, identifier: str) -> dict[str, Any]:
        row = self._state.rows[entity_set].get(identifier)
        if row is None:
            words = f"Entity '{_TABLES[entity_set][0]}' With Id = {identifier} Does Not Exist"
            raise VendorError(404, "0x80040217", words)
        return row

    def _shown(self, entity_set: str, row: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
        self._need(_READ_RIGHT.get(entity_set, "prvReadEntity"))
        chosen = [name for name in options.get("$select", "").split(",") if name]
        for name in chosen:
            self._known_column(entity_set, name)
        shown = {name: row.get(name) for name in chosen} if chosen else dict(row)
        return {"@odata.etag": _etag(row), _TABLES[entity_set][1]: row[_TABLES[entity_set][1]]} | shown

    def _known_column(self, entity_set: str, name: str) -> None:
        table, key = _TABLES[entity_set]
        if entity_set != "leads" or name == key or name in self.columns or name in _READ_ONLY:
            return
        raise VendorError(
            400, "0x80060888", f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table}'."
        )

    def _queried(self, entity_set: str, options: Mapping[str, str]) -> list[dict[str, Any]]:
        rows = list(self._state.rows[entity_set].values())
        for name, value in _conditions(options.get("$filter", "")):
            self._known_column(entity_set, name)
            rows = [row for row in rows if str(row.get(name) or "").casefold() == value.casefold()]
        for order in reversed([part for part in options.get("$orderby", "").split(",") if part]):
            name, _, direction = order.strip().partition(" ")
            self._known_column(entity_set, name)
            rows.sort(key=lambda row: row.get(name) or 0, reverse=direction == "desc")
        return [self._shown(entity_set, row, options) for row in rows[: int(options.get("$top", 5000))]]

    def _patch(self, entity_set: str, identifier: str, headers: Mapping[str, str], body: bytes) -> Response:
        table = _TABLES[entity_set][0]
        existing = self._state.rows[entity_set].get(identifier)
        if existing is not None and headers.get("if-none-match") == "*":
            raise VendorError(412, "0x80040237", "A record with matching key values already exists.")
        match = headers.get("if-match")
        if match is not None:
            if existing is None:
                self._row(entity_set, identifier)
            elif match not in ("*", _etag(existing)):
                words = "The version of the existing record doesn't match the RowVersion property provided."
                raise VendorError(412, "0x80060882", words)
        right = "prvWriteLead" if existing is not None and entity_set == "leads" else _CREATE_RIGHT.get(entity_set)
        if right:
            self._need(right)
        values = self._validated(entity_set, table, body)
        if existing is None:
            self._detect_duplicates(entity_set, values, headers)
            defaults = _lead_defaults() if entity_set == "leads" else {}
            self._insert(entity_set, identifier, defaults | values, APP_USER)
        else:
            if entity_set == "leads" and existing["statecode"] != 0:
                raise VendorError(400, "0x80040203", "This record is inactive and cannot be changed.")
            self._touch(existing, values, APP_USER)
        return Response(204, b"", {"OData-EntityId": f"{self.url}{API}{entity_set}({identifier})"})

    def _validated(self, entity_set: str, table: str, body: bytes) -> dict[str, Any]:
        columns = self.columns if entity_set == "leads" else _COLUMNS.get(entity_set, {})
        try:
            given = json.loads(body)
        except ValueError:
            raise VendorError(400, "0x80048d19", "Error identified in Payload provided by the user.") from None
        values: dict[str, Any] = {}
        for name, value in given.items():
            column_name = name.removesuffix("@odata.bind")
            column = columns.get(column_name)
            if column is None or (name != column_name) != (column.type in {"Lookup", "Owner"}):
                words = f"The property '{name}' does not exist on type 'Microsoft.Dynamics.CRM.{table}'."
                raise VendorError(400, "0x80048d19", f"Error identified in Payload provided by the user. {words}")
            values |= self._converted(entity_set, table, column_name, column, value)
        return values

    def _converted(self, entity_set: str, table: str, name: str, column: Column, value: Any) -> dict[str, Any]:
        if column.type in {"Lookup", "Owner"}:
            return self._bound(entity_set, name, column, value)
        expected = {"Picklist": int, "Boolean": bool, "Integer": int}.get(column.type, str)
        if value is not None and (type(value) is not expected):
            raise VendorError(400, "0x80048d19", f"Cannot convert a value of '{name}' to the expected type.")
        if (
            column.type in {"String", "Memo"}
            and len(str(value).encode("utf-16-le", "surrogatepass")) // 2 > column.length
        ):
            words = (
                f"The length of the '{name}' attribute of the '{table}' entity exceeded the maximum allowed length of"
            )
            raise VendorError(400, "0x80044331", f"A validation error occurred.  {words} '{column.length}'.")
        if column.type == "Picklist" and value not in column.options:
            raise VendorError(400, "0x8004431a", f"The value {value} of '{name}' is outside the valid range.")
        return {name: value}

    def _bound(self, entity_set: str, name: str, column: Column, value: str) -> dict[str, Any]:
        found = _PATH.fullmatch(value.removeprefix(self.url))
        if found is None or found[1] not in column.target.split() or not found[2]:
            raise VendorError(400, "0x80048d19", f"Invalid value for '{name}@odata.bind'.")
        identifier = found[2].lower()
        target = self._row(found[1], identifier)
        if right := _BIND_RIGHT.get((entity_set, name)):
            self._need(right)
        if name == "ownerid":
            self._own(found[1], target)
        if name == "queueid":
            self._work_in(target)
        if name.startswith("objectid_") and entity_set == "queueitems":
            queued = [row["_objectid_value"] for row in self.queue_items]
            if identifier in queued:
                words = "An active queue item already exists for the given object."
                raise VendorError(400, "0x80040526", words)
        if name == "objectid_lead" and entity_set == "queueitems" and not self.leads_go_to_queues:
            raise VendorError(400, "0x80040203", "The entity is not enabled for queues.")
        if entity_set == "annotations":
            return {"_objectid_value": identifier, "objecttypecode": found[1]}
        if name.startswith("regardingobjectid"):
            return {"_regarding": identifier}
        if name.startswith("objectid_"):
            return {"_objectid_value": identifier}
        return {f"_{name}_value": identifier}

    def _own(self, entity_set: str, owner: Mapping[str, Any]) -> None:
        if owner.get("isdisabled"):
            raise VendorError(400, "0x8004022b", "The specified owner has been disabled.")
        if owner.get("teamtype") == 1:
            raise VendorError(400, "0x80048340", "You cannot assign a record to the access team.")
        if entity_set == "systemusers" and not self.people_rights:
            raise VendorError(403, "0x80042f09", "The user has not been assigned any roles.")

    def _work_in(self, queue: Mapping[str, Any]) -> None:
        if queue["statecode"] != 0:
            words = "The selected user does not have sufficient permissions to work on items in this queue."
            raise VendorError(400, "0x80040522", words)
        if queue.get("is_private"):
            words = "Principal user does not have ReadAccess right(s) for the record of type 'queue'."
            raise VendorError(403, "0x80040220", words)

    def _detect_duplicates(self, entity_set: str, values: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        asked = headers.get("mscrm.suppressduplicatedetection", "true") == "false"
        if not (asked and self.duplicate_rule and entity_set == "leads"):
            return
        email = str(values.get("emailaddress1", "")).casefold()
        if any(str(row.get("emailaddress1") or "").casefold() == email for row in self.leads.values()):
            words = "A record was not created or updated because a duplicate of the current record already exists."
            raise VendorError(self.duplicate_status, "0x80040333", words)

    def _insert(self, entity_set: str, identifier: str, values: Mapping[str, Any], user: str) -> str:
        row = {_TABLES[entity_set][1]: identifier, "_createdby_value": user, **values}
        self._state.rows[entity_set][identifier] = row
        self._undo.inserted(self._state.rows[entity_set], identifier)
        self._touch(row, {}, user)
        row["createdon"] = row["modifiedon"]
        return identifier

    def _touch(self, row: dict[str, Any], values: Mapping[str, Any], user: str) -> None:
        self._state.version += 1
        self._undo.changed(row)
        row |= values
        row |= {"_modifiedby_value": user, "modifiedon": clock.now().isoformat(), "versionnumber": self._state.version}

    # Batches

    def _batch(self, request: Request) -> Response:
        self._undo.begin()
        answers: list[Response] = []
        parts: list[bytes] = []
        for item in _parts(request.headers["content-type"], request.body):
            if item.get_content_type() == "multipart/mixed":
                inner = list(item.iter_parts())
                if any(not part["Content-ID"] for part in inner):
                    raise VendorError(400, "0x80060888", "Content-ID header not present.")
            else:
                inner = [item]
            answers = []
            for part in inner:
                response = self._embedded(part, is_change=item is not part)
                if response.status >= 400:
                    self._undo.roll_back()
                    return _multipart("batchresponse", [_embedded_answer(response)], response.status)
                answers.append(response)
            if item.get_content_type() == "multipart/mixed":
                ids = [part["Content-ID"] for part in inner]
                written = [_embedded_answer(answer, id_) for answer, id_ in zip(answers, ids, strict=True)]
                change_set = _multipart("changesetresponse", written)
                content_type = change_set.headers["Content-Type"]
                parts.append(f"Content-Type: {content_type}\r\n\r\n".encode() + change_set.content)
            else:
                parts.append(_embedded_answer(answers[0]))
        return _multipart("batchresponse", parts)

    def _embedded(self, part: Any, *, is_change: bool) -> Response:
        payload: bytes = part.get_payload(decode=True)
        head, _, body = payload.partition(b"\r\n\r\n")
        request_line, *lines = head.decode().split("\r\n")
        method, target, _ = request_line.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if is_change and method == "GET":
            return Response(400, {"error": {"code": "0x80060888", "message": "GET is not allowed in a change set."}})
        if body and len(body.rstrip(b"\r\n")) != int(headers.get("content-length", len(body.rstrip(b"\r\n")))):
            return Response(400, {"error": {"code": "0x80048d19", "message": "Stream was not readable."}})
        try:
            return self._single(method, target.removeprefix(self.url), headers, body)
        except VendorError as error:
            return error.response


def _lead_defaults() -> dict[str, Any]:
    return {"statecode": 0, "statuscode": 1, "leadqualitycode": 2, "merged": False, **dict.fromkeys(_DO_NOT, False)}


class _Shown(HTMLParser):
    """The visible text of a note's rich text: without tags except line breaks, with single spaces."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "br":
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        self.lines[-1] += data


def shown_note(note: Mapping[str, Any]) -> str:
    """What a person reads in a note."""
    parser = _Shown()
    parser.feed(note["notetext"])
    parser.close()
    return "\n".join(re.sub(r"[ \t\r\n\f]+", " ", line).strip() for line in parser.lines)


def _etag(row: Mapping[str, Any]) -> str:
    return f'W/"{row["versionnumber"]}"'


def _conditions(text: str) -> Iterator[tuple[str, str]]:
    """`name eq 'text'` joined by `and`; a quote inside a text is doubled."""
    rest = text.strip()
    while rest:
        found = re.match(r"(\w+) eq (?:'((?:[^']|'')*)'|([0-9a-fA-F-]+))(?: and |$)", rest)
        if found is None:
            raise VendorError(400, "0x80060888", "Syntax error in the filter.")
        yield found[1], found[3] if found[3] is not None else found[2].replace("''", "'")
        rest = rest[found.end() :]


def _parts(content_type: str, body: bytes) -> list[Any]:
    message = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body, policy=HTTP)
    return list(message.iter_parts())


def _embedded_answer(response: Response, content_id: str = "") -> bytes:
    lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    lines += [f"Content-ID: {content_id}"] if content_id else []
    lines += ["", f"HTTP/1.1 {response.status} Answer", "OData-Version: 4.0"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    lines += ["Content-Type: application/json; odata.metadata=minimal"] if response.content else []
    return "\r\n".join([*lines, "", ""]).encode() + response.content


def _multipart(name: str, parts: list[bytes], status: int = 200) -> Response:
    boundary = f"{name}_{uuid.uuid4()}"
    body = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return Response(status, body, {"Content-Type": f"multipart/mixed; boundary={boundary}"})
