"""For each destination type: its vendor's stand-in, how a destination is pointed at it, and what the vendor holds in the end."""

from __future__ import annotations

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any, ClassVar

import pytest
import requests
from azure.data.tables import TableClient

from tests.fakes import marketo, salesforce
from tests.fakes.dataverse import CLIENT, TENANT, Dataverse
from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.hubspot import HubSpot
from tests.fakes.marketo import Marketo
from tests.fakes.salesforce import Salesforce
from tests.fakes.tls import Authority
from tests.fakes.web_to_lead import OID, WebToLead
from tests.fakes.webhook import Receiver
from tests.support.account import named_parts

SECRETS = {"before": "s3cret-before-" + "x" * 20, "after": "s3cret-after-" + "y" * 20}


class Subject(ABC):
    """A destination under test. `vendor` is what it talks to; `servers` is that with whatever gives it tokens."""

    has_tokens: ClassVar[bool] = False
    has_secret: ClassVar[bool] = True
    has_key: ClassVar[bool] = True
    """Whether the vendor knows a second try: without, a lost answer is unknown, and the lead may be there twice, but marked."""
    secret_setting: ClassVar[str] = "LEADS_SECRET_VENDOR"
    vendor: VendorServer

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.set_secret("before")

    @property
    def servers(self) -> list[VendorServer]:
        return [self.vendor]

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The destination, named `crm`."""

    @abstractmethod
    def records(self) -> list[str]:
        """An entry for each stage that the vendor holds, with everything it knows of it."""

    def is_write(self, request: Request) -> bool:
        """Whether a request stores a lead."""
        return request.method == "POST"

    def as_previewed(self, body: bytes) -> bytes:
        """A request's body with the ids that the vendor has given written as the preview writes them."""
        return body

    def set_secret(self, which: str) -> None:
        """What the app's setting holds."""
        self._monkeypatch.setenv(self.secret_setting, self.secret(which))

    def secret(self, which: str) -> str:
        return SECRETS[which]

    @abstractmethod
    def accept_secret(self, which: str) -> None:
        """From now on the vendor takes this one alone."""

    def expire_tokens(self) -> None:
        """Every token that was given out is refused from now on."""
        raise NotImplementedError


class WebhookSubject(Subject):
    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(monkeypatch)
        self.vendor: Receiver = Receiver(authority, [self.secret("before")], real_time=False)

    @property
    def config(self) -> dict[str, Any]:
        settings = {"url": self.vendor.url, "secret": f"env:{self.secret_setting}"}
        return {"name": "crm", "type": "webhook", "settings": settings}

    def records(self) -> list[str]:
        return [str(record) for record in self.vendor.records.values()]

    def secret(self, which: str) -> str:
        return "whsec_" + base64.b64encode(SECRETS[which].encode()).decode()

    def accept_secret(self, which: str) -> None:
        self.vendor.secrets = [self.secret(which)]


class DataverseSubject(Subject):
    has_tokens = True

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(monkeypatch)
        self.vendor: Dataverse = Dataverse(authority)
        self.vendor.entra.set_secret(self.secret("before"))

    @property
    def servers(self) -> list[VendorServer]:
        return [self.vendor, self.vendor.entra]

    @property
    def config(self) -> dict[str, Any]:
        settings = {
            "url": self.vendor.url,
            "authority": self.vendor.entra.url,
            "tenant_id": TENANT,
            "client_id": CLIENT,
            "client_secret": f"env:{self.secret_setting}",
        }
        return {"name": "crm", "type": "dataverse", "settings": settings}

    def records(self) -> list[str]:
        assert len(self.vendor.leads) <= 1, "one customer, one record"
        return [unescape(note["notetext"].replace("<br>\n", "\n")) for note in self.vendor.notes()]

    def is_write(self, request: Request) -> bool:
        return b"\r\nPATCH " in request.body

    def accept_secret(self, which: str) -> None:
        self.vendor.entra.set_secret(self.secret(which))
        self.vendor.entra.revoke_tokens()

    def expire_tokens(self) -> None:
        self.vendor.entra.revoke_tokens()


class SalesforceSubject(Subject):
    has_tokens = True

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(monkeypatch)
        self.vendor: Salesforce = Salesforce(authority)
        self.vendor.secret = self.secret("before")

    @property
    def config(self) -> dict[str, Any]:
        settings = {
            "url": self.vendor.url,
            "client_id": salesforce.CLIENT,
            "client_secret": f"env:{self.secret_setting}",
        }
        return {"name": "crm", "type": "salesforce", "settings": settings}

    def records(self) -> list[str]:
        assert len(self.vendor.leads) <= 1, "one customer, one record"
        return [row["Description"] for row in [*self.vendor.leads, *self.vendor.tasks()]]

    def is_write(self, request: Request) -> bool:
        return request.path.endswith("/ui-api/records") or b"sobjects/Task" in request.body

    def as_previewed(self, body: bytes) -> bytes:
        return re.sub(rb"00Q\w{15}", b"00Q000000000000AAA", body)

    def accept_secret(self, which: str) -> None:
        self.vendor.secret = self.secret(which)
        self.vendor.revoke_tokens()

    def expire_tokens(self) -> None:
        self.vendor.revoke_tokens()


class HubSpotSubject(Subject):
    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(monkeypatch)
        self.vendor: HubSpot = HubSpot(authority)
        self.vendor.token = self.secret("before")

    @property
    def config(self) -> dict[str, Any]:
        settings = {"service_key": f"env:{self.secret_setting}", "url": self.vendor.url}
        return {"name": "crm", "type": "hubspot", "settings": settings}

    def records(self) -> list[str]:
        assert len(self.vendor.living()) <= 1, "one customer, one contact"
        return [
            unescape(note.properties["hs_note_body"].replace("<br>\n", "\n")) for note in self.vendor.notes.values()
        ]

    def is_write(self, request: Request) -> bool:
        return request.path.endswith("/notes")

    def secret(self, which: str) -> str:
        return f"pat-na1-{SECRETS[which]}"

    def as_previewed(self, body: bytes) -> bytes:
        return re.sub(rb'"to": {"id": "\d+"}', b'"to": {"id": "<id of the contact>"}', body)

    def accept_secret(self, which: str) -> None:
        self.vendor.token = self.secret(which)


class WebToLeadSubject(Subject):
    has_secret = False
    has_key = False

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(monkeypatch)
        self.vendor: WebToLead = WebToLead(authority)

    @property
    def config(self) -> dict[str, Any]:
        settings = {"oid": OID, "url": self.vendor.url}
        return {"name": "crm", "type": "salesforce_web_to_lead", "settings": settings}

    def records(self) -> list[str]:
        return [str(lead) for lead in self.vendor.leads]

    def accept_secret(self, which: str) -> None:
        raise NotImplementedError


class MarketoSubject(Subject):
    has_tokens = True

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(monkeypatch)
        self.vendor: Marketo = Marketo(authority)
        self.vendor.secret = self.secret("before")

    @property
    def config(self) -> dict[str, Any]:
        settings = {
            "munchkin_id": marketo.MUNCHKIN,
            "endpoint": self.vendor.url,
            "client_id": marketo.CLIENT,
            "client_secret": f"env:{self.secret_setting}",
            "journey_field": "marketplaceJourney",
        }
        return {"name": "crm", "type": "marketo", "settings": settings}

    def records(self) -> list[str]:
        assert len(self.vendor.persons) <= 1, "one customer, one person"
        persons = self.vendor.persons.values()
        return [f"{line} {person}" for person in persons for line in self._stages(person)]

    def _stages(self, person: dict[str, Any]) -> list[str]:
        return str(person["marketplaceJourney"]).partition("\n\n")[0].split("\n")

    def is_write(self, request: Request) -> bool:
        return request.target == "/rest/v1/leads.json" and b'"input": []' not in request.body

    def as_previewed(self, body: bytes) -> bytes:
        return re.sub(rb'^{"input": \[{"id": \d+}\]}$', b'{"input": [{"id": 0}]}', body)

    def accept_secret(self, which: str) -> None:
        self.vendor.secret = self.secret(which)
        self.vendor.revoke_tokens()

    def expire_tokens(self) -> None:
        self.vendor.revoke_tokens()


class AzureTableSubject(Subject):
    """Azurite behind a server that passes requests on: what goes wrong goes wrong there."""

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        self._parts = named_parts(storage)
        self._key = self._parts["AccountKey"]
        self.vendor: VendorServer = _Forwarding(authority, self._parts["TableEndpoint"])
        self._storage = storage
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.bundle)  # stands for a public certificate
        with TableClient.from_connection_string(storage, "Vendor") as table:
            table.create_table()
        super().__init__(monkeypatch)

    @property
    def config(self) -> dict[str, Any]:
        settings = {"table": "Vendor", "connection_string": f"env:{self.secret_setting}"}
        return {"name": "crm", "type": "azure_table", "settings": settings}

    def records(self) -> list[str]:
        with TableClient.from_connection_string(self._storage, "Vendor") as table:
            return [str(row) for row in table.list_entities()]

    def is_write(self, request: Request) -> bool:
        return request.method == "POST" and not request.path.endswith("/Tables")

    def secret(self, which: str) -> str:
        key = self._key if which == self._accepted else base64.b64encode(SECRETS[which].encode()).decode()
        name = self._parts["AccountName"]
        endpoint = f"{self.vendor.url}/{name}"
        return f"AccountName={name};AccountKey={key};TableEndpoint={endpoint}"

    _accepted = "before"

    def accept_secret(self, which: str) -> None:
        # Azurite's key can't be changed: what the app holds becomes the wrong one instead.
        self._accepted = which
        self.set_secret("before")


class _Forwarding(VendorServer):
    def __init__(self, authority: Authority, endpoint: str) -> None:
        super().__init__(authority)
        self._endpoint = endpoint.rstrip("/").rpartition("/")[0]
        self._session = requests.Session()
        self._session.trust_env = False

    def answer(self, request: Request) -> Response:
        # The signature covers what the client has sent, so it all goes on as it is.
        headers = {name: value for name, value in request.headers.items() if name != "connection"}
        answer = self._session.request(
            request.method, self._endpoint + request.target, headers=headers, data=request.body, allow_redirects=False
        )
        kept = {name: value for name, value in answer.headers.items() if name.lower() in _PASSED_ON}
        return Response(answer.status_code, answer.content, kept)


_PASSED_ON = frozenset({"content-type", "etag", "date", "x-ms-version", "x-ms-request-id", "preference-applied"})

SUBJECTS: dict[str, Callable[[Authority, pytest.MonkeyPatch, str], Subject]] = {
    "azure_table": AzureTableSubject,
    "dataverse": DataverseSubject,
    "hubspot": HubSpotSubject,
    "marketo": MarketoSubject,
    "salesforce": SalesforceSubject,
    "salesforce_web_to_lead": WebToLeadSubject,
    "webhook": WebhookSubject,
}


@contextmanager
def running(subject: Subject) -> Iterator[Subject]:
    """Its vendor serves until the block ends."""
    with subject.vendor:
        subject.set_secret("before")  # the address is known now
        yield subject
