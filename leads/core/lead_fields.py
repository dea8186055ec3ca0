"""Names that senders use for a lead's fields. Pure: no I/O."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

# Exact spellings come first because nearly every sender uses them. Other spellings are looked up by their letters and digits.
_CUSTOMER_KEYS: Final = {
    alias: field
    for field, aliases in {
        "first_name": ("FirstName", "firstname", "givenname", "contactfirstname", "customerfirstname"),
        "last_name": ("LastName", "lastname", "surname", "familyname", "contactlastname", "customerlastname"),
        "email": ("Email", "email", "emailaddress", "contactemail", "contactemailaddress", "customeremail"),
        "phone": ("Phone", "phone", "phonenumber", "telephone", "contactphone", "contactphonenumber"),
        "country": ("Country", "country", "countryregion", "countryorregion", "countrycode"),
        "company": ("Company", "company", "companyname", "organization", "organisation", "customercompany"),
        "title": ("Title", "title", "jobtitle", "contacttitle"),
    }.items()
    for alias in aliases
}
_RECORD_KEYS: Final = _CUSTOMER_KEYS | {
    alias: field
    for field, aliases in {
        "customer": ("UserDetails", "CustomerInfo", "userdetails", "customerinfo"),
        "lead_source": ("LeadSource", "leadsource"),
        "action_code": ("ActionCode", "actioncode"),
        "product_id": ("ProductId", "productid", "productids", "offerid"),
        "offer_title": ("OfferTitle", "OfferDisplayName", "offertitle", "offerdisplayname", "offername"),
        "publisher_name": ("PublisherDisplayName", "publisherdisplayname", "publishername"),
        "description": ("Description", "description"),
        "created_time": ("CreatedTime", "createdtime", "createddatetime", "createddate", "createdon"),
    }.items()
    for alias in aliases
}

WIRE_NAMES: Final = {field: name for name, field in reversed(_RECORD_KEYS.items())}
"""Each field's name as Partner Center writes it: the first of its spellings."""
CUSTOMER_FIELDS: Final = tuple(dict.fromkeys(_CUSTOMER_KEYS.values()))
RECORD_FIELDS: Final = tuple(
    field for field in dict.fromkeys(_RECORD_KEYS.values()) if field not in {"customer", *CUSTOMER_FIELDS}
)

# Columns that a table adds to each row.
_TABLE_KEYS: Final = frozenset({"partitionkey", "rowkey", "timestamp", "etag"})

_LONGEST_KEY: Final = 64


def field_of(name: str) -> str:
    """The lead's field in a column or key of this name (`customer` = the whole customer), "" if unknown."""
    return _field(_RECORD_KEYS, name)


def customer_field_of(name: str) -> str:
    """The same for a key of the customer object."""
    return _field(_CUSTOMER_KEYS, name)


def is_tables_own(key: str) -> bool:
    """Whether a table adds a column of this name to each row."""
    folded = str(key).casefold()
    return folded in _TABLE_KEYS or folded.startswith("odata.") or "@odata." in folded


def _field(known: Mapping[str, str], key: str) -> str:
    field = known.get(key, "")
    if not field and isinstance(key, str) and len(key) <= _LONGEST_KEY:
        field = known.get(_letters(key), "")
    return field


@lru_cache(maxsize=1024)
def _letters(key: str) -> str:
    folded = key.casefold()
    return folded if folded.isalnum() else "".join(filter(str.isalnum, folded))
