"""A Marketo instance, as far as a lead connector meets it.

It behaves as Adobe documents: the Marketo Engage Developer Guide's "Authentication", "Leads", "Forms", "List Membership", "Error
Codes", "Marketo Integration Best Practices". Where the guide is silent it is strict: a text too long for its field is refused.
Not modelled: workspaces, paging, cookies, program members, custom activities.
"""

from __future__ import annotations

import json
import secrets
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Final

from leads.core import clock
from tests.fakes.https_server import Broken, Request, Response, VendorServer
from tests.fakes.tls import Authority

MUNCHKIN: Final = "123-ABC-456"
CLIENT: Final = "0f2b6a3e-1111-4222-8333-444455556666"
FORM: Final = 1029
LIST: Final = "1001"
CST: Final = timezone(timedelta(hours=-6))
PERMISSIONS: Final = frozenset({"Read-Write Lead", "Read-Only Assets"})


@dataclass(frozen=True)
class Field:
    """A field of persons: its name in the old SOAP interface, which forms use, its type, and the characters that it holds."""

    soap: str
    type: str = "string"
    length: int = 255
    read_only: bool = False


def _strings(*names: str) -> dict[str, Field]:
    return {name: Field(name[0].upper() + name[1:]) for name in names}


FIELDS: Final[Mapping[str, Field]] = {
    **_strings("firstName", "lastName", "company", "title", "country", "leadSource", "rating", "industry"),
    "email": Field("Email", "email"),
    "phone": Field("Phone", "phone"),
    "doNotCall": Field("DoNotCall", "boolean"),
    "doNotCallReason": Field("DoNotCallReason"),
    "unsubscribed": Field("Unsubscribed", "boolean"),
    "unsubscribedReason": Field("UnsubscribedReason"),
    "leadScore": Field("LeadScore", "integer"),
    "marketplaceJourney": Field("Marketplace_Journey__c", "text"),
    "marketplaceOffer": Field("Marketplace_Offer__c"),
    "createdAt": Field("CreatedAt", "datetime", read_only=True),
    "id": Field("Id", "integer", read_only=True),
}
_COMPANY: Final = frozenset({"company", "industry"})
_TYPES: Final[Mapping[str, type]] = {"boolean": bool, "integer": int}


@dataclass
class Form:
    """A form: its fields by REST name, with whether each is required, and their greatest lengths."""

    fields: dict[str, bool]
    status: str = "approved"
    lengths: dict[str, int] = field(default_factory=dict)


class Refusal(Exception):
    """An answer with an error of the whole request."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.response = _answer(success=False, errors=[{"code": code, "message": message}])


class Skip(Exception):
    """A record that is not stored, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.record = {"status": "skipped", "reasons": [{"code": code, "message": message}]}


class Marketo(VendorServer):
    """An instance. Tests read it and act as people in it."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.secret = "the secret"
        self.lifetime = 3600
        self.issued: dict[str, datetime] = {}
        self.permissions: set[str] = set(PERMISSIONS)
        self.fields: dict[str, Field] = dict(FIELDS)
        self.forms: dict[int, Form] = {
            FORM: Form(dict.fromkeys(("firstName", "lastName", "email", "phone", "company", "leadSource"), False))
        }
        self.lists: dict[str, list[int]] = {LIST: []}
        self.persons: dict[int, dict[str, Any]] = {}
        self.activities: list[dict[str, Any]] = []
        """Every "Fill Out Form": the person, the form and what was filled in."""
        self.company_is_kept = False
        self.colleagues: list[set[int]] = []
        """Persons of one company: it is the same record for all of them (Experience League, KA-28156)."""
        self.partitions = {"Default"}
        self.quota = 50_000
        self.calls_in_20_seconds = 100
        self.latency = 0.0
        """Seconds that each call takes."""
        self.arrivals: list[float] = []
        self.most_at_once = 0
        self._token = ""
        self._at_once = 0
        self._used: dict[str, int] = {}
        self._last_id = 318_580

    def settings(self, secret: str) -> dict[str, Any]:
        """The settings of a destination for this instance. `secret` is the reference to the client secret."""
        return {"munchkin_id": MUNCHKIN, "endpoint": self.url, "client_id": CLIENT, "client_secret": secret}

    # What a test reads

    def requests(self) -> int:
        """The number of calls to the instance, without token requests."""
        return len([request for request in self.journal if request.path.startswith("/rest/")])

    def most_in(self, seconds: float) -> int:
        """The greatest number of calls in any such span."""
        times = sorted(self.arrivals)
        return max((bisect_left(times, start + seconds) - n for n, start in enumerate(times)), default=0)

    def members(self, list_id: str = LIST) -> list[int]:
        return self.lists[list_id]

    # What a test does as a person

    def add_person(self, **values: Any) -> int:
        """Add a person as another user."""
        self._last_id += 1
        self.persons[self._last_id] = {"id": self._last_id}
        self._touch(self._last_id, values)
        return self._last_id

    def edit(self, person: int, **values: Any) -> None:
        self._touch(person, values)

    def delete(self, person: int) -> None:
        del self.persons[person]

    def merge(self, winner: int, loser: int) -> None:
        lost = self.persons.pop(loser)
        missing = {name: value for name, value in lost.items() if self.persons[winner].get(name) in (None, "")}
        self._touch(winner, missing)

    def use_up_quota(self) -> None:
        """Use up the day's calls. The day ends at midnight, US Central Standard Time."""
        self._used[self._day] = self.quota

    def set_secret(self, secret: str) -> None:
        """Replace the client secret."""
        self.secret = secret

    def revoke_tokens(self) -> None:
        """Refuse every token that was issued so far."""
        self.issued.clear()

    # Requests

    def receive(self, request: Request) -> tuple[Response | None, Broken | None]:
        if not request.path.startswith("/rest/"):
            return super().receive(request)
        with self.lock:
            self.arrivals.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.latency)
            return super().receive(request)
        finally:
            with self.lock:
                self._at_once -= 1

    def answer(self, request: Request) -> Response:
        if request.path == "/identity/oauth/token":
            return self._identity(request.form if request.body else request.query)
        if request.method == "POST" and not request.body:
            return Response(400)  # before anything of Marketo's own: github.com/Marketo/REST-Sample-Code/issues/5
        try:
            self._admit(request)
            return _answer(result=self._act(request))
        except Refusal as refusal:
            return refusal.response

    def _identity(self, given: Mapping[str, str]) -> Response:
        if given.get("client_id") != CLIENT:
            words = f"No client with requested id: {given.get('client_id')}"
            return Response(401, {"error": "unauthorized", "error_description": words})
        if given.get("client_secret") != self.secret:
            return Response(401, {"error": "invalid_client", "error_description": "Bad client credentials"})
        if given.get("grant_type") != "client_credentials":
            return Response(400, {"error": "unsupported_grant_type", "error_description": "Unsupported grant type"})
        # Asked before its end, it gives the same token again.
        if self._token not in self.issued or clock.now() >= self.issued[self._token]:
            self._token = f"{secrets.token_hex(16)}:int"
            self.issued[self._token] = clock.now() + timedelta(seconds=self.lifetime)
        left = int((self.issued[self._token] - clock.now()).total_seconds())
        scope = "api@contoso.example.com"
        return Response(200, {"access_token": self._token, "token_type": "bearer", "expires_in": left, "scope": scope})

    def _admit(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.issued:
            raise Refusal("601", "Access token invalid")
        if clock.now() >= self.issued[token]:
            raise Refusal("602", "Access token expired")
        if self._at_once > 10:
            raise Refusal("615", "Concurrent access limit reached")
        if len(self.arrivals) - bisect_left(self.arrivals, time.monotonic() - 20) > self.calls_in_20_seconds:
            raise Refusal("606", f"Max rate limit '{self.calls_in_20_seconds}' exceeded with in '20' secs")
        if self._used.get(self._day, 0) >= self.quota:
            raise Refusal("607", f"Daily quota '{self.quota}' reached")
        self._used[self._day] = self._used.get(self._day, 0) + 1

    @property
    def _day(self) -> str:
        return f"{clock.now().astimezone(CST):%Y-%m-%d}"

    def _act(self, request: Request) -> Any:
        path = request.path.removeprefix("/rest")
        _, *parts = path.removesuffix(".json").split("/")
        match (request.method, *parts):
            case ("GET", "v1", "leads", "describe"):
                return self._describe()
            case ("POST", "v1", "leads") if request.query.get("_method") == "GET":
                return self._search(request.form)
            case ("GET", "v1", "leads"):
                return self._search(request.query)
            case ("POST", "v1", "leads"):
                return self._sync(_body(request))
            case ("POST", "v1", "leads", "submitForm"):
                return self._submit(_body(request))
            case ("GET", "v1", "lists", list_id):
                self._list(list_id)
                return [{"id": int(list_id), "name": "A list"}]
            case ("POST", "v1", "lists", list_id, "leads"):
                return self._add_to_list(list_id, _body(request))
            case ("GET", "asset", "v1", "form", number):
                form = self._form(number)
                return [{"id": int(number), "name": "A form", "status": form.status}]
            case ("GET", "asset", "v1", "form", number, "fields"):
                return self._form_fields(self._form(number))
            case _:
                raise Refusal("610", "Requested resource not found")

    def _need(self, permission: str) -> None:
        if permission not in self.permissions:
            raise Refusal("603", "Access denied")

    # Persons

    def _describe(self) -> list[dict[str, Any]]:
        return [
            {
                "id": number,
                "displayName": item.soap,
                "dataType": item.type,
                **({"length": item.length} if item.type == "string" else {}),
                "rest": {"name": name, "readOnly": item.read_only},
                "soap": {"name": item.soap, "readOnly": item.read_only},
            }
            for number, (name, item) in enumerate(self.fields.items(), 2)
        ]

    def _search(self, options: Mapping[str, str]) -> list[dict[str, Any]]:
        name = options.get("filterType", "")
        if name not in {"id", "email"}:
            raise Refusal("1011", f"Field '{name}' not supported")
        wanted = {value.casefold() for value in options.get("filterValues", "").split(",")}
        shown = options.get("fields", "id,email,updatedAt").split(",")
        for unknown in set(shown) - self.fields.keys() - {"updatedAt"}:
            raise Refusal("1006", f"Field '{unknown}' not found")
        return [
            {key: person.get(key) for key in {"id", *shown}}
            for person in self.persons.values()
            if str(person.get(name, "")).casefold() in wanted
        ]

    def _sync(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        self._need("Read-Write Lead")
        records = body.get("input")
        if not isinstance(records, list) or not records:
            raise Refusal("701", "input cannot be blank")
        if body.get("partitionName", "Default") not in self.partitions:
            raise Refusal("1008", f"Access denied to partition '{body['partitionName']}'")
        action, key = body.get("action", "createOrUpdate"), body.get("lookupField", "email")
        return [_one(partial(self._sync_one, action, key, record)) for record in records]

    def _sync_one(self, action: str, key: str, record: Mapping[str, Any]) -> dict[str, Any]:
        self._check_values(record, ignoring={"id"} if key == "id" else set())
        if key == "id" and action != "updateOnly":
            raise Skip("1003", "Invalid data: id is only for updateOnly")
        found = self._matching(key, record.get(key))
        if not found and action == "updateOnly":
            raise Skip("1004", "Lead not found")
        if found and action == "createOnly":
            raise Skip("1005", "Lead already exists")
        if len(found) > 1:
            raise Skip("1007", "Multiple lead match lookup criteria")
        values = {name: value for name, value in record.items() if name != "id"}
        if found and self.company_is_kept and _COMPANY & values.keys():
            raise Skip("1021", "Company update not allowed")
        if not found:
            return {"id": self.add_person(**values), "status": "created"}
        self._touch(found[0], values)
        of_the_company = {name: value for name, value in values.items() if name in _COMPANY}
        for colleague in set().union(*(company for company in self.colleagues if found[0] in company)):
            self._touch(colleague, of_the_company)
        return {"id": found[0], "status": "updated"}

    def _matching(self, key: str, value: Any) -> list[int]:
        if value in (None, ""):
            raise Skip("1002", f"Missing value for the required parameter '{key}'")
        return [
            number
            for number, person in self.persons.items()
            if str(person.get(key)).casefold() == str(value).casefold()
        ]

    def _check_values(self, record: Mapping[str, Any], ignoring: set[str]) -> None:
        for name, value in record.items():
            item = self.fields.get(name)
            if name in ignoring or value is None:
                continue
            if item is None or item.read_only:
                raise Skip("1006", f"Field '{name}' not found")
            if not isinstance(value, _TYPES.get(item.type, str)):
                raise Skip("1001", f"Invalid value '{value}'. Required of type '{item.type}'")
            if isinstance(value, str):
                self._check_text(name, item, value)

    def _check_text(self, name: str, item: Field, text: str) -> None:
        if item.type == "email" and (not text.isascii() or "@" not in text or set(text) & set(" ,;<>")):
            raise Skip("1003", f"Invalid email address '{text}'")
        if _size(text, item) > (30_000 if item.type == "text" else item.length):
            raise Skip("1003", f"Value too long for field '{name}'")

    def _touch(self, person: int, values: Mapping[str, Any]) -> None:
        moment = {"updatedAt": f"{clock.now():%Y-%m-%dT%H:%M:%S.%fZ}"}
        self.persons[person] |= {name: None if value == "" else value for name, value in values.items()} | moment

    # Forms

    def _form(self, number: str | int) -> Form:
        self._need("Read-Only Assets")
        form = self.forms.get(int(number))
        if form is None:
            raise Refusal("702", f"Form not found with id {number}")
        return form

    def _form_fields(self, form: Form) -> list[dict[str, Any]]:
        items = [
            {
                "id": self.fields[name].soap,
                "label": name,
                "dataType": self.fields[name].type,
                "required": required,
                "maxLength": form.lengths.get(name, 255),
            }
            for name, required in form.fields.items()
        ]
        return [*items, {"id": "Profiling", "dataType": "profiling"}]

    def _submit(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        self._need("Read-Write Lead")
        form = self.forms.get(body.get("formId", 0))
        if form is None or form.status == "draft":
            raise Refusal("702", "Form not found")
        records = body.get("input") or []
        if len(records) != 1:
            raise Refusal("1003", "Exactly one record can be submitted")
        return [_one(lambda: self._submit_one(form, body, records[0].get("leadFormFields") or {}))]

    def _submit_one(self, form: Form, body: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        for name in values:
            if name not in form.fields:
                raise Skip("1006", f"Field '{name}' not found")
        for name, required in form.fields.items():
            if required and values.get(name) in (None, ""):
                raise Skip("1002", f"Missing value for the required parameter '{name}'")
        self._check_values(values, ignoring=set())
        for name, length in form.lengths.items():
            if len(str(values.get(name, ""))) > length:
                raise Skip("1003", f"Value too long for field '{name}'")
        found = sorted(self._matching("email", values.get("email")), key=lambda n: self.persons[n]["updatedAt"])
        if found and self.company_is_kept and _COMPANY & values.keys():
            raise Skip("1021", "Company update not allowed")
        person = found[-1] if found else self.add_person()
        self._touch(person, values)
        self.activities.append({"person": person, "form": body["formId"], "program": body.get("programId"), **values})
        return {"id": person, "status": "updated" if found else "created"}

    # Lists

    def _list(self, list_id: str) -> list[int]:
        if list_id not in self.lists:
            raise Refusal("1013", f"Object not found: list {list_id}")
        return self.lists[list_id]

    def _add_to_list(self, list_id: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        self._need("Read-Write Lead")
        records = body.get("input")
        if not isinstance(records, list) or not all(isinstance(record.get("id"), int) for record in records):
            raise Refusal("609", "Invalid JSON")
        return [_one(partial(self._add_one, list_id, record["id"])) for record in records]

    def _add_one(self, list_id: str, person: int) -> dict[str, Any]:
        members = self._list(list_id)
        if person not in self.persons:
            raise Skip("1004", "Lead not found")
        if person not in members:
            members.append(person)
        return {"id": person, "status": "added"}


def _one(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return act()
    except Skip as skip:
        return skip.record


def _answer(*, success: bool = True, **parts: Any) -> Response:
    return Response(200, {"requestId": secrets.token_hex(6), "success": success, **parts})


def _body(request: Request) -> dict[str, Any]:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise Refusal("612", "Invalid Content Type")
    try:
        body = json.loads(request.body)
    except ValueError:
        raise Refusal("609", "Invalid JSON") from None
    return body if isinstance(body, dict) else {}


def _size(text: str, item: Field) -> int:
    return len(text.encode()) if item.type == "text" else len(text)
