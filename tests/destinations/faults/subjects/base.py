"""A destination type under test: its vendor's stand-in, the settings that lead there, and what the vendor holds in the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from tests.fakes.https_server import Request, VendorServer
from tests.fakes.tls import Authority

SECRETS = {"before": "s3cret-before-" + "x" * 20, "after": "s3cret-after-" + "y" * 20}


class Subject(ABC):
    """A destination under test. `vendor` is what it talks to; `servers` is that with whatever gives it tokens."""

    has_tokens: ClassVar[bool] = False
    has_secret: ClassVar[bool] = True
    has_key: ClassVar[bool] = True
    """Whether the vendor knows a second try: without, a lost answer is unknown, and the lead may be there twice, but marked."""
    secret_setting: ClassVar[str] = "LEADS_SECRET_VENDOR"
    vendor: Any

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


class CrmSubject(Subject):
    """A CRM, which gives out tokens for a secret. Its stand-in says what the settings are, and which secret is right."""

    has_tokens = True
    type_name: ClassVar[str]
    stand_in: ClassVar[type[Any]]
    more_settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(monkeypatch)
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


@contextmanager
def running(subject: Subject) -> Iterator[Subject]:
    """Its vendor serves until the block ends."""
    with subject.vendor:
        subject.set_secret("before")  # the address is known now
        yield subject
