"""The host for tests and tools, from the environment.

HOST=devhost               devhost, started by the tests that need it
HOST=func                  Azure Functions Core Tools, started by the tests that need them
HOST=http://127.0.0.1:7071 a running host with a separate storage account for the tests; it needs the next two settings
HOST_KEY=…                 the master key of that host, which gives access to the functions' keys
HOST_STORAGE=…             the connection string of that app's LeadsStorage
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tools.host import RunError

KINDS = ("func", "devhost")


@dataclass(frozen=True)
class Target:
    """A kind of host to start, or the address of a running one."""

    kind: str = "devhost"
    address: str = ""
    key: str = ""  # the master key of the host at the address
    storage: str = ""  # the connection string of the app at the address

    @property
    def name(self) -> str:
        return self.address or self.kind


def read_target(environment: Mapping[str, str], default: str = "devhost") -> Target:
    """Read the target. Raises RunError, which names a malformed or missing setting."""
    host = environment.get("HOST", "").strip() or default
    if host in KINDS:
        return Target(host)
    try:
        address = urlsplit(host)
        is_address = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise RunError(f"HOST must be {', '.join(KINDS)} or an address like http://127.0.0.1:7071, not {host!r}")
    given = {name: environment.get(name, "").strip() for name in ("HOST_KEY", "HOST_STORAGE")}
    for name, value in given.items():
        if not value:
            raise RunError(f"{name} is missing: set it with HOST={host} (see docs/contributing/testing.md)")
    return Target("", host.rstrip("/"), given["HOST_KEY"], given["HOST_STORAGE"])
