"""Column names that lists use for a lead's fields. Pure: no I/O.

Microsoft documents the columns of Lead analytics (Microsoft Learn, "Referral insights download – Data definitions") and of
referrals (Microsoft Learn, "Bulk operations for Co-sell opportunities using comma-separated value (CSV) files"). For the download
of the page *Leads*, Microsoft documents one column: `LeadCreationDateTime` (Microsoft Learn, "Learn about leads"). In these
lists, *Customer name* is the name of the customer's company.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from leads.core.lead_fields import field_of

_OF_LISTS: Final = {
    "action": "action_code",
    "calltoaction": "action_code",
    "offer": "offer_title",
    "creationdate": "created_time",
    "referralcreationdate": "created_time",
    "leadcreationdate": "created_time",
    "leadcreationdatetime": "created_time",
    "customername": "company",
    "customercountry": "country",
    "customercountryregion": "country",
    "customercontactfirstname": "first_name",
    "customercontactlastname": "last_name",
    "customercontactphone": "phone",
    "customercontactphonenumber": "phone",
    "customercontactemail": "email",
    "customercontactemailaddress": "email",
}
"""Column name in lower case, letters and digits only → field. These names are not used for posted bodies, where they can mean
something else. `offer` is a title: routing finds an offer's id in a title, too."""


def field_of_column(name: str) -> str:
    """The lead's field in a column of this name, "" if unknown."""
    return field_of(name) or _OF_LISTS.get("".join(filter(str.isalnum, name[:64].casefold())), "")


def fields_of(record: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The record with the names of the lead's fields, without the columns that are left out.

    `columns` as in `Reading`. If two columns hold one field, the column with the field's usual name wins.
    """
    named = {columns.get(name) or name: value for name, value in record.items() if columns.get(name) != ""}
    plain = {field_of(name) for name, value in named.items() if value not in ("", None)}
    fields: dict[str, Any] = {}
    for name, value in named.items():
        field = "" if field_of(name) else field_of_column(name)
        taken = not field or field in plain or fields.get(field)
        fields[name if taken else field] = value
    return fields


def fields_in(names: Iterable[str], columns: Mapping[str, str]) -> set[str]:
    """The lead's fields that columns of these names hold (`customer` = the whole customer); `columns` as in `Reading`."""
    return {columns.get(name, field_of_column(name)) for name in names} - {""}


def time_in(record: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """The text of a row's creation time, "" if missing; `columns` as in `Reading`."""
    fields = fields_of(record, columns).items()
    return next((str(value) for name, value in fields if field_of(name) == "created_time" and value), "")
