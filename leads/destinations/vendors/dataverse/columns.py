"""Reads the definitions of the lead table's columns. Only the needed columns are read, because a table may have thousands.

Source: Microsoft Learn, "Query table definitions using the Web API".
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from leads.destinations.vendors.dataverse.client import Client
from leads.destinations.vendors.dataverse.records import DEFAULT_LENGTHS

TABLE_PATH: Final = "EntityDefinitions(LogicalName='lead')"
_AT_ONCE: Final = 25
"""Names in one request, so that the URL does not grow with the mapping."""


def described(client: Client, names: Iterable[str], properties: str, kind: str = "") -> dict[str, Mapping[str, Any]]:
    """Name → definition of the table's columns among `names`. `kind` selects columns of one type, such as `String`."""
    of_kind = f"/Microsoft.Dynamics.CRM.{kind}AttributeMetadata" if kind else ""
    wanted = sorted(set(names))
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        condition = " or ".join(f"LogicalName eq {_literal(name)}" for name in wanted[start : start + _AT_ONCE])
        options = f"$select=LogicalName,{properties}&$filter={quote(condition, safe='')}"
        rows = client.rows(f"{TABLE_PATH}/Attributes{of_kind}?{options}")
        found |= {str(row.get("LogicalName")): row for row in rows}
    return found


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Lengths:
    """The lengths of a lead's text columns. They are Microsoft's default lengths until `read` asks the environment."""

    def __init__(self) -> None:
        self.known: Mapping[str, int] = DEFAULT_LENGTHS

    def read(self, client: Client, names: Iterable[str]) -> None:
        """Read the lengths of these columns from the environment."""
        columns: dict[str, Mapping[str, Any]] = {}
        for kind in ("String", "Memo"):
            columns |= described(client, names, "MaxLength", kind)
        lengths = {name: row.get("MaxLength") for name, row in columns.items()}
        self.known = {**self.known, **{name: length for name, length in lengths.items() if isinstance(length, int)}}
