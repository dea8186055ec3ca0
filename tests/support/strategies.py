"""Hypothesis strategies for leads, messages and rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from leads.core.identity import new_lead_id
from leads.core.lead import Lead
from leads.core.lead_parsing import parse_kept

CUSTOMER_KEYS = ("FirstName", "LastName", "Email", "Phone", "Country", "Company", "Title")
RECORD_KEYS = (
    "LeadSource",
    "ActionCode",
    "ProductId",
    "OfferTitle",
    "PublisherDisplayName",
    "Description",
    "CreatedTime",
)

wild_text = st.text(st.characters(), max_size=12)
"""Any characters, also lone surrogates."""
text = st.text(max_size=12)
"""Characters that UTF-8 can encode."""
scalars = st.none() | st.booleans() | st.integers() | st.floats() | wild_text
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(wild_text, inner, max_size=3),
    max_leaves=5,
)


def _objects(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    known = st.dictionaries(st.sampled_from(keys), wild_text | json_values, max_size=5)
    unknown = st.dictionaries(wild_text, json_values, max_size=2)
    return st.builds(lambda first, second: first | second, known, unknown)


customers = _objects(CUSTOMER_KEYS)
bodies = st.builds(
    lambda record, customer, wrapped: json.dumps(
        record | {"UserDetails": json.dumps(customer) if wrapped else customer}
    ).encode(),
    _objects(RECORD_KEYS),
    customers,
    st.booleans(),
)
"""Bodies of leads: any values under known and unknown keys, the customer as an object or as a JSON string."""

leads: st.SearchStrategy[Lead] = bodies.map(parse_kept)
"""Any lead that parses."""

moments: st.SearchStrategy[datetime] = st.datetimes(
    datetime(2017, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    datetime(2099, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)
hex_digits = "0123456789abcdef"
lead_ids: st.SearchStrategy[str] = st.builds(
    lambda at, random, bucket: f"{new_lead_id(at, Lead())[:17]}-{random:012x}-{bucket}",
    moments,
    st.integers(0, 16**12 - 1),
    st.sampled_from(hex_digits),
)
hashes = st.integers(0, 16**32 - 1).map("{:032x}".format)
destination_names = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True)
