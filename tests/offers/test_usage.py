"""Names of a connection's users in alarms and lists."""

from __future__ import annotations

from typing import Any

import pytest

from leads.destinations import host_of
from leads.offers.model import by_connection, read_offer
from leads.offers.usage import NAMED_AT_MOST, named

HOOK = {"url": "https://Hook.example.com:8443/leads?x=1", "secret": "env:LEADS_SECRET_HOOK"}


def offer(number: int) -> Any:
    hook = {"name": "hook", "type": "webhook", "settings": HOOK}
    return read_offer({"id": f"contoso.o{number}", "titles": [f"Offer {number}"], "destinations": [hook]})


def test_of_many_offers_the_first_are_named_and_the_others_counted() -> None:
    uses = by_connection([offer(number) for number in range(NAMED_AT_MOST + 2)])
    (connection,) = uses
    names = [f"contoso.o{number}/hook" for number in range(NAMED_AT_MOST)]
    assert named(connection, uses) == {"used_by": ", ".join([*names, "2 more"]), "host": "hook.example.com"}
    assert named("another", uses) == {"used_by": "no offer", "host": ""}


@pytest.mark.parametrize(
    ("type_name", "settings", "host"),
    [
        ("webhook", HOOK, "hook.example.com"),
        ("azure_table", {"connection_string": "env:LEADS_SECRET_TABLE"}, ""),
        ("azure_table", {"table_service_uri": "https://a.table.core.windows.net"}, "a.table.core.windows.net"),
    ],
)
def test_the_host_is_that_of_the_address_without_anything_else_of_it(
    type_name: str, settings: dict[str, Any], host: str
) -> None:
    assert host_of(type_name, settings) == host
