"""Which storage account an address is of. Pure: no I/O."""

import re
from typing import Final
from urllib.parse import urlsplit

_SERVICE: Final = re.compile(r"\.(?:queue|table|blob)\.")
"""What follows the account's name, or its DNS zone (Microsoft Learn, "Storage account overview", section "Storage account
endpoints")."""


def account_of(address: str) -> tuple[str, int | None, str]:
    """What tells storage accounts apart by the address of their tables: host, port and, of an emulator, the name in the path.

    The same for the secondary host, a private link, any case, scheme or signature (Microsoft Learn, "Azure Storage redundancy",
    section "Read access to data in the secondary region", and "Use private endpoints for Azure Storage").
    """
    parts = urlsplit(address)
    name, _, domain = (parts.hostname or "").partition(".")
    host = f"{name.removesuffix('-secondary')}.{domain.removeprefix('privatelink.')}"
    in_path = parts.path.strip("/").partition("/")[0].lower().removesuffix("-secondary")
    port = None if parts.port in {80, 443} else parts.port
    return "127.0.0.1" if host == "localhost." else host, port, in_path


def is_of_another_account(address: str, name: str) -> bool:
    """Whether the address of a service names another account than this one. A host name of one's own can't be judged."""
    host, _, in_path = account_of(address)
    account, _, domain = host.partition(".")
    named = in_path or (account if _SERVICE.search(f".{domain}.") else name)
    return named != name


def has_same_host(address: str, own: str) -> bool:
    """Whether an address is of the host that the operator has named for tables, and no less safe on its way."""
    same = account_of(address)[:2] == account_of(own)[:2]
    return same and urlsplit(address).scheme in {"https", urlsplit(own).scheme}
