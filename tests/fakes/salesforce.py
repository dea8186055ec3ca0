"""A Salesforce organisation, as far as a lead connector meets it.

It behaves as Salesforce documents: "REST API Developer Guide" ("Send Multiple Requests Using Composite", "sObject Rows", "sObject
Describe", "Conditional Request Headers", "Duplicate Rule Header", "Assignment Rule Header", "Status Codes and Error Responses"),
"User Interface API Developer Guide" ("Create or Clone a Record", "Prevent Record Duplication with Idempotent Record Writes",
"Error with Output"), Salesforce Help ("OAuth 2.0 Client Credentials Flow", "OAuth 2.0 JWT Bearer Flow", "OAuth 2.0 Authorization
Errors"); queries as in tests/fakes/soql.py. Not modelled: sharing, record types, triggers beyond one validation rule.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote

import jwt

from leads.core import clock
from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.soql import MalformedQuery, Query, parse
from tests.fakes.tls import Authority
from tests.fakes.undo import Undo

CLIENT: Final = "3MVG9example.consumer_key"
USERNAME: Final = "leads@contoso.example.com"
APP_USER: Final = "005000000000001AAA"
PERSON: Final = "005000000000002AAA"
INACTIVE: Final = "005000000000003AAA"
QUEUE: Final = "00G000000000001AAA"
CAMPAIGN: Final = "701000000000001AAA"
RULE: Final = "01Q000000000001AAA"

API: Final = "/services/data/v64.0/"
IDEMPOTENCY_KEPT: Final = timedelta(days=30)
_V4: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_PREFIXES: Final = {
    "Lead": "00Q",
    "Task": "00T",
    "CampaignMember": "00v",
    "Contact": "003",
    "Account": "001",
    "Opportunity": "006",
}
_RELATED: Final = {
    ("Lead", "Tasks"): ("Task", "WhoId"),
    ("Contact", "Tasks"): ("Task", "WhoId"),
    ("Account", "Tasks"): ("Task", "WhatId"),
    ("Lead", "CampaignMembers"): ("CampaignMember", "LeadId"),
    ("Contact", "CampaignMembers"): ("CampaignMember", "ContactId"),
}
_ADDRESS: Final = {"Street", "City", "State", "PostalCode", "Country", "CountryCode"}
"""The parts of a lead's address, which is one field to the UI API's errors."""
_OPT_OUTS: Final = ("HasOptedOutOfEmail", "DoNotCall", "HasOptedOutOfFax")
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


@dataclass(frozen=True)
class Field:
    """A field of an object. `values` are those of a restricted picklist, `refers_to` the objects that a reference may name."""

    type: str = "string"
    length: int = 0
    values: tuple[str, ...] = ()
    refers_to: tuple[str, ...] = ()
    required: bool = False
    read_only: bool = False
    external_id: bool = False
    unique: bool = False
    filterable: bool = True


def _texts(**lengths: int) -> dict[str, Field]:
    return {name: Field("string", length) for name, length in lengths.items()}


_SYSTEM: Final = {
    **dict.fromkeys(
        ("Id", "CreatedById", "LastModifiedById", "MasterRecordId"), Field("reference", 18, read_only=True)
    ),
    **dict.fromkeys(("CreatedDate", "LastModifiedDate"), Field("datetime", read_only=True)),
    "IsDeleted": Field("boolean", read_only=True),
}
LEAD_FIELDS: Final[Mapping[str, Field]] = {
    **_SYSTEM,
    **_texts(
        FirstName=40, Title=128, Phone=40, MobilePhone=40, Street=255, City=40, State=80, PostalCode=20, Country=80
    ),
    **_texts(Website=255),
    "LastName": Field("string", 80, required=True),
    "Company": Field("string", 255, required=True),
    "Email": Field("email", 80),
    "Description": Field("textarea", 32_000),
    "LeadSource": Field("picklist", 255),
    "Rating": Field("picklist", 255),
    **{name: Field("boolean") for name in _OPT_OUTS},
    "OwnerId": Field("reference", 18, refers_to=("User", "Group")),
    "IsConverted": Field("boolean", read_only=True),
    **{f"Converted{name}Id": Field("reference", 18, read_only=True) for name in ("Contact", "Account", "Opportunity")},
}
_FIELDS: Final[Mapping[str, Mapping[str, Field]]] = {
    "Task": {
        **_SYSTEM,
        "Subject": Field("combobox", 255),
        "Description": Field("textarea", 32_000),
        "Status": Field("picklist", 255, ("Not Started", "In Progress", "Completed")),
        "Priority": Field("picklist", 255, ("High", "Normal", "Low")),
        "ActivityDate": Field("date"),
        "IsReminderSet": Field("boolean"),
        "ReminderDateTime": Field("datetime"),
        "WhoId": Field("reference", 18, refers_to=("Lead", "Contact")),
        "WhatId": Field("reference", 18, refers_to=("Account", "Opportunity")),
        "OwnerId": Field("reference", 18, refers_to=("User",)),
    },
    "CampaignMember": {
        **_SYSTEM,
        "CampaignId": Field("reference", 18, refers_to=("Campaign",), required=True),
        "LeadId": Field("reference", 18, refers_to=("Lead",)),
        "ContactId": Field("reference", 18, refers_to=("Contact",)),
    },
    "Contact": {**_SYSTEM, **_texts(LastName=80, Email=80), "OwnerId": Field("reference", 18)},
    "Account": {**_SYSTEM, **_texts(Name=255), "OwnerId": Field("reference", 18)},
    "Opportunity": {**_SYSTEM, **_texts(Name=120)},
    "User": {**_SYSTEM, "IsActive": Field("boolean")},
    "Group": {**_SYSTEM},
    "QueueSobject": {**_SYSTEM, **_texts(QueueId=18, SobjectType=80)},
    "Campaign": {**_SYSTEM},
    "AssignmentRule": {**_SYSTEM, **_texts(SobjectType=80)},
}


class VendorError(Exception):
    """A refused request."""

    def __init__(self, status: int, code: str, message: str, *fields: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"message": message, "errorCode": code, "fields": list(fields), **more}

    @property
    def response(self) -> Response:
        return Response(self.status, [self.error])


@dataclass
class _State:
    """Everything that is stored: rows by object and ID, and answers by idempotency key."""

    rows: dict[str, dict[str, dict[str, Any]]]
    answers: dict[str, tuple[datetime, Response]] = field(default_factory=dict)


class Salesforce(VendorServer):
    """An organisation. Tests read it and act as people in it."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.secret = "the secret"
        self.token_error: tuple[str, str] | None = None
        """The error, and its description, with which every sign-in is refused."""
        self.public_key = ""
        self.audience = "https://login.salesforce.com"
        self.session = timedelta(hours=2)
        self.sessions: dict[str, datetime] = {}
        self.fields: dict[str, dict[str, Field]] = {
            "Lead": dict(LEAD_FIELDS),
            **{n: dict(f) for n, f in _FIELDS.items()},
        }
        self.hidden: set[tuple[str, str]] = set()
        """Objects with the fields that field-level security hides from the app's user."""
        self.rights: dict[str, set[str]] = {name: {"read", "create", "edit"} for name in self.fields}
        self.duplicate_rule = ""
        """"alert" or "block", for a lead with the e-mail address of another lead or a contact."""
        self.validation_rule: Callable[[str, Mapping[str, Any]], VendorError | None] = lambda table, row: None
        self.refuses: dict[str, str] = {}
        """ID of a record → the code with which a reference to the record is refused. The refusal names no field."""
        self.password_expired = False
        self.requests_left: int | None = None
        self.stores_refusals = True
        """Whether an idempotency key also stores a refusal. Salesforce does not document this."""
        self._numbers = itertools.count(100)
        self._state = _State({name: {} for name in self.fields})
        self._undo = Undo()
        for identifier, active in ((APP_USER, True), (PERSON, True), (INACTIVE, False)):
            self._state.rows["User"][identifier] = {"Id": identifier, "IsActive": active}
        for table, identifier in (("Group", QUEUE), ("Campaign", CAMPAIGN)):
            self._state.rows[table][identifier] = {"Id": identifier}
        self._state.rows["QueueSobject"]["1"] = {"Id": "1", "QueueId": QUEUE, "SobjectType": "Lead"}
        self._state.rows["AssignmentRule"][RULE] = {"Id": RULE, "SobjectType": "Lead"}

    def settings(self, secret: str) -> dict[str, Any]:
        """The settings of a destination for this organisation. `secret` is the reference to the client secret."""
        return {"url": self.url, "client_id": CLIENT, "client_secret": secret}

    # What a test reads

    @property
    def leads(self) -> list[dict[str, Any]]:
        return self._living("Lead")

    @property
    def members(self) -> list[dict[str, Any]]:
        return self._living("CampaignMember")

    def tasks(self, record: str = "") -> list[dict[str, Any]]:
        """The tasks of a lead, contact or account, or all, oldest first."""
        return [row for row in self._living("Task") if not record or record in (row.get("WhoId"), row.get("WhatId"))]

    def requests(self) -> int:
        """The number of requests to the API, without token requests."""
        return len(self.api_journal)

    @property
    def api_journal(self) -> list[Request]:
        return [request for request in self.journal if request.path.startswith(API)]

    def _living(self, table: str) -> list[dict[str, Any]]:
        return [row for row in self._state.rows[table].values() if not row.get("IsDeleted")]

    # What a test does as a person

    def add_lead(self, **fields: Any) -> str:
        """Add a lead as another user. Returns its ID."""
        return self._insert(
            "Lead", _lead_defaults(PERSON) | {"LastName": "Doe", "Company": "Elsewhere"} | fields, PERSON
        )

    def add_contact(self, **fields: Any) -> str:
        return self._insert("Contact", {"LastName": "Doe", "OwnerId": PERSON} | fields, PERSON)

    def edit(self, lead_id: str, **fields: Any) -> None:
        self._touch(self._state.rows["Lead"][lead_id], fields, PERSON)

    def convert(self, lead_id: str, *, opportunity: bool = True) -> tuple[str, str, str]:
        """Convert a lead. Returns the IDs of its contact, account and opportunity."""
        contact = self.add_contact()
        account = self._insert("Account", {"Name": "Example Works", "OwnerId": PERSON}, PERSON)
        made = self._insert("Opportunity", {"Name": "Example Works-"}, PERSON) if opportunity else ""
        became = {"ConvertedContactId": contact, "ConvertedAccountId": account, "ConvertedOpportunityId": made or None}
        self.edit(lead_id, IsConverted=True, **became)
        for task in self.tasks(lead_id):
            task |= {"WhoId": contact, "WhatId": made or account}
        return contact, account, made

    def merge(self, loser: str, survivor: str) -> None:
        self.edit(loser, IsDeleted=True, MasterRecordId=survivor)
        for task in self.tasks(loser):
            task["WhoId"] = survivor

    def delete(self, table: str, identifier: str) -> None:
        """Move a record with its tasks to the recycle bin."""
        for row in [self._state.rows[table][identifier], *self.tasks(identifier)]:
            row["IsDeleted"] = True

    def empty_recycle_bin(self) -> None:
        for rows in self._state.rows.values():
            for identifier in [key for key, row in rows.items() if row.get("IsDeleted")]:
                del rows[identifier]

    def turn_on_country_picklists(self, *codes: str) -> None:
        self.fields["Lead"]["CountryCode"] = Field("picklist", 10, codes or ("US", "DE", "IE"))

    def set_secret(self, secret: str) -> None:
        """Replace the client secret."""
        self.secret = secret

    def revoke_tokens(self) -> None:
        """Refuse every token that was issued so far."""
        self.sessions.clear()

    # Requests

    def answer(self, request: Request) -> Response:
        if request.path == "/services/oauth2/token":
            return self._token(request.form)
        if not request.path.startswith(API):
            return VendorError(404, "NOT_FOUND", "The requested resource does not exist").response
        try:
            self._admit(request.headers)
            path, _, query = request.target.removeprefix(API).partition("?")
            if path == "composite":
                return self._composite(json.loads(request.body))
            if path == "ui-api/records":
                return self._create_once(json.loads(request.body), request.headers)
            body = json.loads(request.body) if request.body else None
            return self._single(request.method, path, query, body, request.headers)
        except VendorError as error:
            return error.response

    def _admit(self, headers: Mapping[str, str]) -> None:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self.sessions.get(token, datetime.min.replace(tzinfo=UTC)) <= clock.now():
            raise VendorError(401, "INVALID_SESSION_ID", "Session expired or invalid")
        self.sessions[token] = clock.now() + self.session
        if self.password_expired:
            words = "Das Kennwort ist abgelaufen."
            raise VendorError(401, "INVALID_OPERATION_WITH_EXPIRED_PASSWORD", words)
        if self.requests_left is not None:
            if self.requests_left <= 0:
                raise VendorError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            self.requests_left -= 1

    def _token(self, form: Mapping[str, str]) -> Response:
        if self.token_error:
            return _token_error(*self.token_error)
        if form["grant_type"] == "client_credentials":
            if form["client_id"] != CLIENT:
                return _token_error("invalid_client_id", "client identifier invalid")
            if form["client_secret"] != self.secret:
                return _token_error("invalid_client", "invalid client credentials")
        else:
            assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
            if error := self._problem_with(form["assertion"]):
                return error
        token = f"00D000000000001!{secrets.token_urlsafe(40)}"
        self.sessions[token] = clock.now() + self.session
        return Response(200, {"access_token": token, "instance_url": self.url, "token_type": "Bearer", "scope": "api"})

    def _problem_with(self, assertion: str) -> Response | None:
        try:
            unchecked: Any = {"verify_exp": False, "verify_aud": False}  # by the tests' clock, below
            claims = jwt.decode(assertion, self.public_key, algorithms=["RS256"], options=unchecked)
        except jwt.PyJWTError:
            return _token_error("invalid_grant", "invalid assertion")
        if claims["iss"] != CLIENT:
            return _token_error("invalid_client_id", "client identifier invalid")
        if claims["aud"] != self.audience:
            return _token_error("invalid_grant", "audience is invalid")
        if not 0 < claims["exp"] - clock.now().timestamp() <= 300:
            return _token_error("invalid_grant", "expired authorization code")
        if claims["sub"] != USERNAME:
            return _token_error("invalid_grant", "user hasn't approved this consumer")
        return None

    def _single(self, method: str, path: str, query: str, body: Any, headers: Mapping[str, str]) -> Response:
        parts = path.split("/")
        if method == "GET" and parts[0] in {"query", "queryAll"}:
            soql = unquote(query.removeprefix("q=").replace("+", " "))
            return Response(200, self._queried(soql, deleted=parts[0] == "queryAll"))
        if parts[0] != "sobjects" or len(parts) < 2 or parts[1] not in self.fields or not self.rights[parts[1]]:
            raise VendorError(404, "NOT_FOUND", "The requested resource does not exist")
        table = parts[1]
        match method, parts[2:]:
            case "GET", ["describe"]:
                return Response(200, self._described(table))
            case "POST", []:
                return Response(201, {"id": self._create(table, body, headers), "success": True, "errors": []})
            case "PATCH", [identifier]:
                self._update(table, identifier, body, headers)
                return Response(204)
        raise VendorError(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed.")

    def _described(self, table: str) -> dict[str, Any]:
        rights = self.rights[table]
        flags = {"queryable": "read", "createable": "create", "updateable": "edit"}
        shown = {name: kind for name, kind in self.fields[table].items() if (table, name) not in self.hidden}
        return {
            "name": table,
            **{flag: right in rights for flag, right in flags.items()},
            "fields": [
                {
                    "name": name,
                    "type": kind.type,
                    "length": kind.length,
                    "createable": not kind.read_only,
                    "updateable": not kind.read_only,
                    "nillable": not kind.required and kind.type != "boolean",
                    "defaultedOnCreate": kind.type == "boolean",
                    "externalId": kind.external_id,
                    "unique": kind.unique,
                    "filterable": kind.filterable and kind.type != "textarea",
                }
                for name, kind in shown.items()
            ],
        }

    # Queries

    def _queried(self, soql: str, *, deleted: bool) -> dict[str, Any]:
        try:
            query = parse(soql)
        except MalformedQuery as error:
            raise VendorError(400, "MALFORMED_QUERY", str(error)) from None
        return self._found(query, query.table, list(self._state.rows.get(query.table, {}).values()), deleted)

    def _found(self, query: Query, table: str, rows: Sequence[Mapping[str, Any]], deleted: bool) -> dict[str, Any]:
        if "read" not in self.rights.get(table, ()):
            raise VendorError(400, "INVALID_TYPE", f"sObject type '{query.table}' is not supported.")
        for name in [*query.columns, *query.fields]:
            self._known(
                table, name, "entity", "If you are attempting to use a custom field, be sure to append the '__c'."
            )
            if name in query.fields and self.fields[table][name].type == "textarea":
                raise VendorError(400, "INVALID_FIELD", f"field '{name}' can not be filtered in a query call")
        chosen = query.choose([row for row in rows if deleted or not row.get("IsDeleted")])
        return {
            "totalSize": len(chosen),
            "done": True,
            "records": [self._shown(query, table, row, deleted) for row in chosen],
        }

    def _shown(self, query: Query, table: str, row: Mapping[str, Any], deleted: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {"attributes": {"type": table}} | {name: row.get(name) for name in query.columns}
        for subquery in query.subqueries:
            if (table, subquery.table) not in _RELATED:
                raise VendorError(
                    400,
                    "INVALID_TYPE",
                    f"Didn't understand relationship '{subquery.table}' in FROM part of query call.",
                )
            child, reference = _RELATED[table, subquery.table]
            rows = [other for other in self._state.rows[child].values() if other.get(reference) == row["Id"]]
            found = self._found(subquery, child, rows, deleted)
            shown[subquery.table] = found if found["records"] else None
        return shown

    def _known(self, table: str, name: str, where: str, hint: str) -> None:
        if name not in self.fields[table] or (table, name) in self.hidden:
            raise VendorError(400, "INVALID_FIELD", f"No such column '{name}' on {where} '{table}'. {hint}")

    # Transactions

    def _composite(self, body: Mapping[str, Any]) -> Response:
        parts = body["compositeRequest"]
        names = [part["referenceId"] for part in parts]
        queries = [part for part in parts if "/query" in part["url"]]
        assert len(parts) <= 25 and len(queries) <= 5 and len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z]\w*", name) for name in names)
        self._undo.begin()
        responses: list[Response] = []
        for part in parts:
            responses.append(self._part(part))
            if responses[-1].status >= 400 and body.get("allOrNone"):
                self._undo.roll_back()
                halted = VendorError(
                    400, "PROCESSING_HALTED", "The transaction was rolled back since another operation failed."
                )
                responses = [halted.response] * (len(responses) - 1) + responses[-1:]
                responses += [halted.response] * (len(parts) - len(responses))
                break
        results = [
            {"body": made.body or None, "httpHeaders": {}, "httpStatusCode": made.status, "referenceId": name}
            for made, name in zip(responses, names, strict=True)
        ]
        return Response(200, {"compositeResponse": results})

    def _part(self, part: Mapping[str, Any]) -> Response:
        headers = {name.lower(): value for name, value in part.get("httpHeaders", {}).items()}
        assert not headers.keys() & {"accept", "authorization", "content-type"}
        path, _, query = part["url"].removeprefix(API).partition("?")
        if reference := re.search(r"@\{([\w.\[\]]+)\}", json.dumps(part)):
            words = f"Invalid reference specified. No value for {reference[1]} found."
            return VendorError(400, "PROCESSING_HALTED", words).response
        try:
            return self._single(part["method"], path, query, part.get("body"), headers)
        except VendorError as error:
            return error.response

    # The UI API

    def _create_once(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
        key = headers.get("idempotency-key", "")
        if not _V4.fullmatch(key):
            raise VendorError(400, "INVALID_IDEMPOTENCY_KEY", "The idempotency key isn't a UUID of version 4.")
        expires, kept = self._state.answers.get(key, (clock.now(), None))
        if kept is not None and clock.now() < expires:
            return kept
        response = self._create_by_ui(body)
        if response.status < 300 or self.stores_refusals:
            self._undo.inserted(self._state.answers, key)
            self._state.answers[key] = (clock.now() + IDEMPOTENCY_KEPT, response)
        return response

    def _create_by_ui(self, body: Mapping[str, Any]) -> Response:
        table = body["apiName"]
        if table == "Task":
            raise VendorError(400, "INVALID_TYPE", f"Object {table} is not supported in UI API")
        assign = "TRUE" if body.get("useDefaultRule") else "FALSE"
        allow = "allowSave=true" if body.get("allowSaveOnDuplicate") else ""
        try:
            made = self._create(
                table, body["fields"], {"sforce-auto-assign": assign, "sforce-duplicate-rule-header": allow}
            )
        except VendorError as error:
            return Response(error.status, [_ui_error(error.error)])
        row = self._state.rows[table][made]
        shown = {name: {"displayValue": None, "value": row.get(name)} for name in self.fields[table]}
        return Response(201, {"apiName": table, "id": made, "fields": shown})

    # Rows

    def _create(self, table: str, values: Mapping[str, Any], headers: Mapping[str, str]) -> str:
        if "create" not in self.rights[table]:
            words = "entity type cannot be inserted: insufficient access"
            raise VendorError(403, "INSUFFICIENT_ACCESS_OR_READONLY", words)
        self._validate(table, values)
        missing = [name for name, kind in self.fields[table].items() if kind.required and not values.get(name)]
        if missing:
            raise VendorError(400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: {missing}", *missing)
        self._check_uniqueness(table, values)
        if table == "Lead":
            self._detect_duplicates(values, headers)
            is_assigned = headers.get("sforce-auto-assign", "TRUE").upper() in {"TRUE", RULE.upper()}
            owner = QUEUE if is_assigned else values.get("OwnerId", APP_USER)
            values = {**_lead_defaults(owner), **values, "OwnerId": owner}
        defaults = {"OwnerId": APP_USER, "Status": "Not Started"} if table == "Task" else {}
        return self._insert(table, {**defaults, **values}, APP_USER)

    def _update(self, table: str, identifier: str, values: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        row = self._state.rows[table].get(identifier)
        if row is None:
            raise VendorError(404, "NOT_FOUND", "The requested resource does not exist")
        if row.get("IsDeleted"):
            raise VendorError(404, "ENTITY_IS_DELETED", "entity is deleted")
        unmodified = headers.get("if-unmodified-since")
        if unmodified and datetime.fromisoformat(row["LastModifiedDate"]) > parsedate_to_datetime(unmodified):
            raise VendorError(412, "PRECONDITION_FAILED", "The record has been modified since.")
        if row.get("IsConverted"):
            raise VendorError(400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        if "edit" not in self.rights[table]:
            raise VendorError(403, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
        self._validate(table, values)
        self._touch(row, values, APP_USER)

    def _validate(self, table: str, values: Mapping[str, Any]) -> None:
        for name in values:
            if name not in self.fields[table]:
                raise VendorError(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {table}")
        hidden = [name for name in values if (table, name) in self.hidden or self.fields[table][name].read_only]
        if hidden:
            words = f"Unable to create/update fields: {', '.join(hidden)}. Please check the security settings of this field."
            raise VendorError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", words, *hidden)
        for name, value in values.items():
            self._validate_one(table, name, self.fields[table][name], value)
        if refusal := self.validation_rule(table, values):
            raise refusal

    def _validate_one(self, table: str, name: str, kind: Field, value: Any) -> None:
        if kind.type in {"boolean", "double"} and not isinstance(
            value, bool if kind.type == "boolean" else int | float
        ):
            raise VendorError(
                400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of {kind.type} from VALUE_STRING {value}"
            )
        if kind.length and len(str(value).encode("utf-16-le", "surrogatepass")) // 2 > kind.length:
            words = f"{name}: data value too large: {value} (max length={kind.length})"
            raise VendorError(400, "STRING_TOO_LONG", words, name)
        if name in {"Country", "CountryCode"} and "CountryCode" in self.fields[table]:
            if value not in self.fields[table]["CountryCode"].values:
                words = "There's a problem with this country, even though it may appear correct."
                raise VendorError(400, "FIELD_INTEGRITY_EXCEPTION", words, name)
        elif kind.values and value not in kind.values:
            words = f"{name}: bad value for restricted picklist field: {value}"
            raise VendorError(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", words, name)
        if kind.type == "email" and value and not _EMAIL.fullmatch(value):
            raise VendorError(400, "INVALID_EMAIL_ADDRESS", f"{name}: invalid email address: {value}", name)
        if kind.refers_to and value:
            self._refer(name, kind, value)

    def _refer(self, name: str, kind: Field, value: str) -> None:
        if value in self.refuses:
            raise VendorError(400, self.refuses[value], f"unzureichende Zugriffsrechte: {value}")
        row = next((rows[value] for target in kind.refers_to if value in (rows := self._state.rows[target])), None)
        if row is None or row.get("IsDeleted"):
            raise VendorError(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", name)
        if row.get("IsActive") is False:
            raise VendorError(400, "INACTIVE_OWNER_OR_USER", "owner is not active")
        if row.get("IsConverted"):
            raise VendorError(400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")

    def _check_uniqueness(self, table: str, values: Mapping[str, Any]) -> None:
        if table == "CampaignMember":
            same = [
                r for r in self.members if all(r.get(k) == values.get(k) for k in ("CampaignId", "LeadId", "ContactId"))
            ]
            if same:
                raise VendorError(400, "DUPLICATE_VALUE", "Already a campaign member.")
        unique = [name for name, kind in self.fields[table].items() if kind.unique and values.get(name)]
        for name in unique:
            other = next((row for row in self._living(table) if row.get(name) == values[name]), None)
            if other:
                words = f"duplicate value found: {name} duplicates value on record with id: {other['Id'][:15]}"
                raise VendorError(400, "DUPLICATE_VALUE", words)

    def _detect_duplicates(self, values: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        email = str(values.get("Email") or "").casefold()
        allowed = "allowSave=true" in headers.get("sforce-duplicate-rule-header", "")
        if not self.duplicate_rule or not email or (allowed and self.duplicate_rule == "alert"):
            return
        found = {
            table: [row["Id"] for row in self._living(table) if str(row.get("Email") or "").casefold() == email]
            for table in ("Lead", "Contact")
        }
        if not any(found.values()):
            return
        matches = [
            {"entityType": table, "matchRecords": [{"record": {"Id": identifier}} for identifier in identifiers]}
            for table, identifiers in found.items()
        ]
        # The key is spelled like this on the wire.
        result = {"duplicateResut": {"allowSave": self.duplicate_rule == "alert", "matchResults": matches}}
        raise VendorError(400, "DUPLICATES_DETECTED", "Use one of these records?", **result)

    def _insert(self, table: str, values: Mapping[str, Any], user: str) -> str:
        identifier = f"{_PREFIXES[table]}{next(self._numbers):012d}AAA"
        row = {"Id": identifier, "IsDeleted": False, "CreatedById": user, "CreatedDate": _now(), **values}
        self._state.rows[table][identifier] = row
        self._undo.inserted(self._state.rows[table], identifier)
        self._touch(row, {}, user)
        return identifier

    def _touch(self, row: dict[str, Any], values: Mapping[str, Any], user: str) -> None:
        self._undo.changed(row)
        row |= values
        row |= {"LastModifiedById": user, "LastModifiedDate": _now()}


def _lead_defaults(owner: str) -> dict[str, Any]:
    return {"OwnerId": owner, "IsConverted": False, "MasterRecordId": None, **dict.fromkeys(_OPT_OUTS, False)}


def _now() -> str:
    return f"{clock.now().astimezone(UTC):%Y-%m-%dT%H:%M:%S.000+0000}"


def _token_error(error: str, description: str) -> Response:
    return Response(400, {"error": error, "error_description": description})


def _ui_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """An error in the wrapper of the UI API. A duplicate rule's error has another shape there."""
    rule = error.get("duplicateResut") or {"matchResults": []}
    matches = [
        {"apiName": match["entityType"], "matchRecordIds": [found["record"]["Id"] for found in match["matchRecords"]]}
        for match in rule["matchResults"]
    ]
    found = {"errorCode": error["errorCode"], "message": error["message"], "constituentField": None}
    by_field = {
        "Address" if name in _ADDRESS else name: [
            {**found, "field": "Address", "constituentField": name} if name in _ADDRESS else {**found, "field": name}
        ]
        for name in error["fields"]
    }
    general = [] if by_field else [{**found, "field": None, "duplicateRecordError": {"matchResults": matches}}]
    return {
        "message": "An error occurred while trying to update the record. Please try again.",
        "statusCode": 400,
        "enhancedErrorType": "RecordError",
        "output": {"errors": general, "fieldErrors": by_field},
    }
