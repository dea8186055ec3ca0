"""Output at a terminal of any width: ids stay whole, and a list on a narrow terminal is cards."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leads.cli.connections import print_connections
from leads.cli.leads import print_page
from leads.cli.output import print_fields, print_table
from leads.core.identity import received_at_of
from leads.core.states import State
from leads.ledger.queries import LeadLine
from leads.operations.connections import ConnectionView, Use
from leads.operations.leads import LeadPage

LEAD: Final = "20260131235959999-0123456789ab-c"
OFFER: Final = "contoso.a-rather-long-name-of-an-offer"
STYLING = re.compile(r"\x1b\[[0-9;]*m")
Shown = Callable[[int, Callable[[], None]], str]


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """The output at a terminal of this width."""

    def show(columns: int, print_it: Callable[[], None]) -> str:
        with monkeypatch.context() as patch:
            screen = _Screen()
            patch.setattr(sys, "stdout", screen)
            patch.setenv("COLUMNS", str(columns))
            print_it()
        return STYLING.sub("", screen.getvalue())

    return show


def a_page() -> LeadPage:
    line = LeadLine(
        lead_id=LEAD,
        received_at=received_at_of(LEAD),
        offer=OFFER,
        stage="contact_requested",
        source="AzureMarketplace",
        is_test=True,
        state=State.DELIVERED,
        unconfirmed=True,
        destinations={},
    )
    return LeadPage(leads=[line, replace(line, offer="")], after=None)


def test_leads_on_80_columns_are_cards_with_every_word_whole(shown: Shown) -> None:
    first, second = shown(80, lambda: print_page(a_page())).split("\n\n")
    assert first.splitlines() == [
        "received (UTC)  2026-01-31 23:59",
        f"lead            {LEAD}",
        f"offer           {OFFER}",
        "stage           contact_requested",
        "state           delivered (test, unconfirmed)",
    ]
    assert LEAD in second


def test_leads_on_a_wide_terminal_are_a_table_with_a_line_for_each(shown: Shown) -> None:
    title, first, second = shown(160, lambda: print_page(a_page())).splitlines()
    assert title.split() == ["received", "(UTC)", "lead", "offer", "stage", "state"]
    assert first.split()[2:4] == [LEAD, OFFER]
    assert second.split()[2:4] == [LEAD, "-"]


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 200])
def test_no_id_of_a_connection_or_an_offer_is_cut_at_any_width(shown: Shown, columns: int) -> None:
    view = ConnectionView(
        id="0123456789abcdef",
        type="salesforce_web_to_lead",
        health="paused: 5 attempts in a row failed: check its secret",
        paused=True,
        by_person=False,
        since=received_at_of(LEAD),
        failures=5,
        last_success_at=received_at_of(LEAD),
        last_lead=LEAD,
        last_failure_at=None,
        next_check_at=None,
        used_by=[Use(offer=OFFER, destination="crm"), Use(offer="*", destination="the-other-destination")],
        host="contoso.my.salesforce.com",
        waiting=12,
    )
    words = shown(columns, lambda: print_connections([view])).split()
    assert {view.id, view.type, OFFER, "the-other-destination", view.host} <= set(words)


cells = st.lists(st.text("abcdefgh-.0123 \n日", max_size=40), min_size=3, max_size=3)


@given(rows=st.lists(cells, min_size=1, max_size=4), columns=st.integers(1, 120), folded=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_a_table_holds_every_word_of_it_stays_whole(
    shown: Shown, rows: list[list[str]], columns: int, folded: bool
) -> None:
    out = shown(columns, lambda: print_table(("one", "two", "three"), rows, *(["two"] if folded else [])))
    words = [word for row in rows for cell in row for word in cell.split()]
    assert sorted(word for word in out.split() if word not in {"one", "two", "three"}) == sorted(words)
    longest = max(map(len, words), default=0)
    assert all(len(line) <= max(columns, 2 * longest, 5) for line in out.splitlines())


def test_fields_without_room_beside_their_names_stand_below_them(shown: Shown) -> None:
    out = shown(
        38, lambda: print_fields({"duplicate of": LEAD, "reason": "a few more words that need more than a line"})
    )
    assert out.splitlines() == [
        "duplicate of",
        LEAD,
        "reason",
        "a few more words that need more than a",
        "line",
    ]


def test_what_is_piped_is_a_line_for_each_row_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [("x " * 9_000, LEAD)], "a")
    assert len(capsys.readouterr().out.splitlines()) == 2
