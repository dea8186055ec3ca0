"""What an environment says of the lead table's columns. It is asked for those that are needed: a table may have thousands.

Source: Microsoft Learn, "Query table definitions using the Web API".
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from leads.destinations.vendors.dataverse.client import Client
from leads.destinations.vendors.dataverse.records import DEFAULT_LENGTHS

TABLE_PATH: Final = "EntityDefinitions(LogicalName='lead')"
_AT_ONCE: Final = 25
"""Names in one request: its address must not grow with the mapping."""


def described(client: Client, names: Iterable[str], properties: str, kind: str = "") -> dict[str, Mapping[str, Any]]:
    """The columns of these names that the table has. `kind`: only those of a type, such as `String`."""
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
    """How long the texts of a lead's columns may be: as shipped, until the environment has been asked."""

    def __init__(self) -> None:
        self.known: Mapping[str, int] = DEFAULT_LENGTHS

    def read(self, client: Client, names: Iterable[str]) -> None:
        """Ask the environment for these columns, which may be longer or shorter than shipped."""
        columns: dict[str, Mapping[str, Any]] = {}
        for kind in ("String", "Memo"):
            columns |= described(client, names, "MaxLength", kind)
        lengths = {name: row.get("MaxLength") for name, row in columns.items()}
        self.known = {**self.known, **{name: length for name, length in lengths.items() if isinstance(length, int)}}
