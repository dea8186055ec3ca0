"""A destination type under test: its vendor's fake, the settings for the fake, and what the vendor holds in the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.tls import Authority

SECRETS = {"before": "s3cret-before-" + "x" * 20, "after": "s3cret-after-" + "y" * 20}


class Subject(ABC):
    """A destination under test. `vendor` is the vendor's fake, `servers` the fake with its token endpoint."""

    has_tokens: ClassVar[bool] = False
    has_secret: ClassVar[bool] = True
    has_key: ClassVar[bool] = True
    """Whether the vendor recognises a repeated request. Otherwise the lead may be stored twice after a lost answer, marked."""
    secret_setting: ClassVar[str] = "LEADS_SECRET_VENDOR"
    busy: ClassVar[Response] = Response(429, b"", {"Retry-After": "20"})
    """The vendor's answer to too many requests."""
    dialogue: ClassVar[dict[str, list[str]]]
    """The answers to some questions of `offers connect`, in turn. All but the last are refused."""
    vendor: Any

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
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
        """The value of the app's setting."""
        self._monkeypatch.setenv(self.secret_setting, self.secret(which))

    def secret(self, which: str) -> str:
        return SECRETS[which]

    @abstractmethod
    def accept_secret(self, which: str) -> None:
        """Make the vendor accept only this secret."""

    def expire_tokens(self) -> None:
        """Refuse every token that was issued so far."""
        raise NotImplementedError

    def keep_sessions(self) -> None:  # noqa: B027 - most give out no tokens
        """Let no token end by itself, although the test moves the clock."""


class CrmSubject(Subject):
    """A CRM with a fake that gives the settings. `names` are the CRM's names of the fields that people read and change."""

    has_tokens = True
    type_name: ClassVar[str]
    stand_in: ClassVar[type[Any]]
    example: ClassVar[dict[str, Any]]
    """Settings of an account without a server."""
    variants: ClassVar[dict[str, dict[str, Any]]] = {"": {}}
    """Name → settings under which the same must hold."""
    without_search: ClassVar[dict[str, Any]] = {}
    """The settings without a search for records of others."""
    address_setting: ClassVar[str] = "url"
    names: ClassVar[dict[str, str]]
    """The vendor's names of first, last, email, phone, company, title and, where it has one, rating."""
    ratings: ClassVar[dict[str, Any]] = {}
    knows_its_own: ClassVar[bool] = True
    """Whether the app recognises its own record after a lost answer to the creation."""

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(authority, monkeypatch, storage)
        self.more_settings: dict[str, Any] = {}
        self.vendor = self.stand_in(authority)
        self.accept_secret("before")

    @property
    def config(self) -> dict[str, Any]:
        settings = self.vendor.settings(f"env:{self.secret_setting}") | self.more_settings
        return {"name": "crm", "type": self.type_name, "settings": settings}

    def accept_secret(self, which: str) -> None:
        self.vendor.set_secret(self.secret(which))
        self.vendor.revoke_tokens()

    def expire_tokens(self) -> None:
        self.vendor.revoke_tokens()

    def records(self) -> list[str]:
        assert len(self.people()) <= 1, "one customer, one record"
        return self.stages()

    # what a person sees and does

    @abstractmethod
    def refusal(self, message: str) -> Response:
        """A refusal of a lead, in the vendor's form and with these words."""

    @abstractmethod
    def rows(self) -> dict[str, Mapping[str, Any]]:
        """The customers' records by their ids, in the vendor's own names."""

    @abstractmethod
    def stages(self, record: str = "") -> list[str]:
        """The text of each stage, of one record or of all."""

    @abstractmethod
    def tasks(self) -> int:
        """The number of tasks, or for a list its members."""

    @abstractmethod
    def flags(self, row: Mapping[str, Any]) -> list[bool]:
        """The do-not-contact flags that are set. Empty for a vendor without such flags."""

    @abstractmethod
    def add(self, **values: Any) -> str:
        """Add a record as another user. Returns its ID."""

    @abstractmethod
    def edit(self, record: str, **values: Any) -> None:
        """Change a record as another user."""

    @abstractmethod
    def delete(self, record: str) -> None: ...

    @abstractmethod
    def merge(self, loser: str, survivor: str) -> None: ...

    def people(self) -> dict[str, dict[str, Any]]:
        """The customers' records by their ids, in our names; what is empty is ""."""
        meanings = {value: rating for rating, value in self.ratings.items()}
        found = {}
        for record, row in self.rows().items():
            values = {ours: row.get(theirs) or "" for ours, theirs in self.names.items()}
            found[record] = values | {"rating": meanings.get(values.get("rating"), "")}
        return found

    def in_its_names(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values under the vendor's names. None means empty."""
        return {self.names[name]: self.ratings.get(value, value) for name, value in values.items()}


@contextmanager
def running(subject: Subject) -> Iterator[Subject]:
    """Run the vendor's fake until the block ends."""
    with subject.vendor:
        subject.set_secret("before")  # the address is known now
        yield subject
