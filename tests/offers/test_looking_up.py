"""An offer that this instance does not know yet is looked up before its lead goes to another offer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError

from leads.core import clock
from leads.core.routing import OfferReferences
from leads.offers.model import read_offer
from leads.offers.table import CACHE_SECONDS, LOOKED_UP_AGAIN, Offers
from leads.platform import cached_value
from leads.platform.storage import StorageError
from leads.platform.table_format import text_columns

DESTINATION = {"name": "table", "type": "azure_table"}


class Row(dict[str, Any]):
    """An entity as the table client returns it."""

    metadata = {"etag": "1"}  # noqa: RUF012


class OffersTable:
    """The offers' table as another instance changes it."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.reads = 0
        self.error: StorageError | None = None

    def add(self, offer_id: str, *titles: str) -> None:
        offer = read_offer({"id": offer_id, "titles": list(titles), "destinations": [DESTINATION]})
        columns = text_columns("offer", offer.model_dump_json())
        self.rows.append(Row({"RowKey": offer_id, "changed_at": clock.now(), **columns}))

    def query(self, _: str) -> list[Row]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return [*self.rows]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    moment = [datetime(2026, 3, 1, tzinfo=UTC)]
    monkeypatch.setattr(clock, "now", lambda: moment[0])
    return moment


@pytest.fixture
def table(now: list[datetime]) -> OffersTable:
    made = OffersTable()
    made.add("contoso.crm", "Contoso CRM")
    made.add("*")
    return made


@pytest.fixture
def offers(table: OffersTable) -> Offers:
    """The offers of an instance that has just read them."""
    made = Offers(table)  # type: ignore[arg-type]
    made.all()
    return made


def taken(offers: Offers, *names: str) -> str:
    """The offer that takes a lead with these names in its address, source, product and title."""
    offer = offers.route(OfferReferences(*names))
    return offer.id if offer else ""


@pytest.mark.parametrize(
    "names",
    [
        ("fabrikam.erp", "", "", "Contoso CRM"),
        ("erp", "", "", "Contoso CRM"),
        ("", "fabrikam.erp", "", "Contoso CRM"),
        ("", "", "fabrikam.erp", "Contoso CRM"),
        ("", "", "", "Fabrikam ERP"),
    ],
    ids=["address", "second part", "source", "product", "title"],
)
def test_the_first_lead_of_a_new_offer_goes_to_it(offers: Offers, table: OffersTable, names: tuple[str, ...]) -> None:
    table.add("fabrikam.erp", "Fabrikam ERP")
    assert [taken(offers, *names) for _ in range(3)] == ["fabrikam.erp"] * 3
    assert table.reads == 2, "then it is known"


def test_a_known_name_is_not_looked_up(offers: Offers, table: OffersTable) -> None:
    for names in (("contoso.crm", "x.y", "", "z"), ("", "crm", "x.y"), ("", "", "", "contoso crm"), ()):
        taken(offers, *names)
    assert table.reads == 1


def test_a_flood_of_unknown_titles_reads_the_table_once_in_a_few_seconds(
    offers: Offers, table: OffersTable, now: list[datetime]
) -> None:
    assert {taken(offers, "", "", "", f"Title {number}") for number in range(200)} == {"*"}
    assert table.reads == 2
    table.add("fabrikam.erp", "Fabrikam ERP")
    now[0] += LOOKED_UP_AGAIN
    assert taken(offers, "", "", "", "Fabrikam ERP") == "fabrikam.erp"
    assert table.reads == 3


def test_a_name_that_no_offer_has_is_looked_up_once_in_a_few_seconds_and_holds_up_no_other(
    offers: Offers, table: OffersTable, now: list[datetime]
) -> None:
    for _ in range(50):
        assert taken(offers, "", "no.offers", "plan-7", "Contoso CRM") == "contoso.crm"
    assert table.reads == 2
    table.add("fabrikam.erp")
    assert taken(offers, "fabrikam.erp", "", "", "Contoso CRM") == "fabrikam.erp"
    assert table.reads == 3
    table.add("no.offers")
    now[0] += LOOKED_UP_AGAIN
    assert taken(offers, "", "no.offers", "", "Contoso CRM") == "no.offers"


def test_where_the_table_cant_be_read_a_lead_of_an_unknown_name_waits_and_the_others_do_not(
    offers: Offers, table: OffersTable, now: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_value, "QUICK_SECONDS", 0.0)
    table.error = ServiceResponseError("it hangs")
    for _ in range(3):
        with pytest.raises(StorageError):
            taken(offers, "fabrikam.erp", "", "", "Contoso CRM")
    assert table.reads == 2, "nobody asks again at once"
    assert taken(offers, "contoso.crm") == "contoso.crm"
    now[0] += timedelta(seconds=CACHE_SECONDS + 1)
    assert taken(offers, "contoso.crm") == "contoso.crm", "what is known is used meanwhile"
