"""Finds the storage account that an address belongs to. Pure: no I/O."""

import re
from typing import Final
from urllib.parse import urlsplit

_SERVICE: Final = re.compile(r"\.(?:queue|table|blob)\.")
"""The part of a host name after the account's name or its DNS zone (Microsoft Learn, "Storage account overview", section
"Storage account endpoints")."""


def account_of(address: str) -> tuple[str, int | None, str]:
    """Identifies the storage account of a table address: host, port and, for an emulator, the name in the path.

    The result does not depend on secondary host, private link, case, scheme or signature (Microsoft Learn, "Azure Storage
    redundancy", section "Read access to data in the secondary region", and "Use private endpoints for Azure Storage").
    """
    parts = urlsplit(address)
    name, _, domain = (parts.hostname or "").partition(".")
    host = f"{name.removesuffix('-secondary')}.{domain.removeprefix('privatelink.')}"
    in_path = parts.path.strip("/").partition("/")[0].lower().removesuffix("-secondary")
    port = None if parts.port in {80, 443} else parts.port
    return "127.0.0.1" if host == "localhost." else host, port, in_path


def is_of_another_account(address: str, name: str) -> bool:
    """Whether a service's address names another account than `name`. False for a custom host name, which shows no account."""
    host, _, in_path = account_of(address)
    account, _, domain = host.partition(".")
    named = in_path or (account if _SERVICE.search(f".{domain}.") else name)
    return named != name


def has_same_host(address: str, own: str) -> bool:
    """Whether an address has the host and port of `own`, the operator's table address, and its scheme or https."""
    same = account_of(address)[:2] == account_of(own)[:2]
    return same and urlsplit(address).scheme in {"https", urlsplit(own).scheme}
