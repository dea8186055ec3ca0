"""What lists call a lead's fields. Pure: no I/O.

Microsoft documents the columns of Lead analytics (Microsoft Learn, "Referral insights download – Data definitions") and of
referrals (Microsoft Learn, "Bulk operations for Co-sell opportunities using comma-separated value (CSV) files"). Of the list that
the page *Leads* downloads it documents one, `LeadCreationDateTime` (Microsoft Learn, "Learn about leads"). *Customer name* is the
name of the customer's company there.
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
"""By their letters and digits. A body that is posted may call other things so. An offer's id is found in a title, too."""


def field_of_column(name: str) -> str:
    """The lead's field that a column of this name holds, "" if none is known by it."""
    return field_of(name) or _OF_LISTS.get("".join(filter(str.isalnum, name[:64].casefold())), "")


def fields_of(record: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The record under the names of the lead's fields, without the columns that are left out.

    `columns` as in `Reading`. A name that only lists have yields to a column that says the same field more plainly.
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
    """What a row says of its time, "" if nothing; `columns` as in `Reading`."""
    fields = fields_of(record, columns).items()
    return next((str(value) for name, value in fields if field_of(name) == "created_time" and value), "")
