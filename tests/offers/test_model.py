"""Finding the offer of a lead, checking offers, and the conditions of destinations."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, urlsplit

import azure.functions as func
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devhost.routes import parse_route
from devhost.urls import path_of
from leads.core.lead import Lead, Stage
from leads.core.routing import OfferReferences, route
from leads.offers.model import InvalidOffer, Offer, When, read_offer
from leads.pipeline.http import url_offer
from tests.support.strategies import json_values, leads
from tests.support.strategies import text as any_text

CANARY = "s3cret-value"
TABLE = {"name": "table", "type": "azure_table"}


def an_offer(offer_id: str, *titles: str) -> Offer:
    return read_offer({"id": offer_id, "titles": list(titles), "destinations": [TABLE]})


def routed(offers: list[Offer], url: str = "", lead_source: str = "", product_id: str = "", title: str = "") -> str:
    """The id of the offer for these references, "" if none."""
    found = route(OfferReferences(url, lead_source, product_id, title), offers)
    return found.id if found else ""


# --- Routing ----------------------------------------------------------------------------------------------------------

CRM = an_offer("contoso.crm", "Contoso CRM", "Contoso Sales")
MAIL = an_offer("contoso.mail", "Contoso Mail")
OTHER_MAIL = an_offer("fabrikam.mail", "Fabrikam Mail")
REST = an_offer("*")


@pytest.mark.parametrize("place", ["url", "lead_source", "product_id", "title"])
def test_each_place_of_a_lead_can_name_its_offer(place: str) -> None:
    assert routed([CRM, MAIL, REST], **{place: "contoso.crm"}) == "contoso.crm"


def test_the_places_are_asked_in_order_address_source_product_title() -> None:
    offers = [an_offer("a.url"), an_offer("a.source"), an_offer("a.product"), an_offer("a.title")]
    places = {"url": "a.url", "lead_source": "a.source", "product_id": "a.product", "title": "a.title"}
    while places:
        assert routed(offers, **places) == next(iter(places.values()))
        del places[next(iter(places))]


def test_what_a_lead_says_is_passed_over_where_it_names_no_offer() -> None:
    assert routed([CRM, REST], lead_source="Somebody", product_id="contoso.gone", title="Contoso CRM") == "contoso.crm"


@pytest.mark.parametrize("place", ["lead_source", "product_id", "title"])
def test_an_address_that_names_no_offer_keeps_its_leads_from_every_other(place: str) -> None:
    assert routed([CRM], url="contoso.gone", **{place: "contoso.crm"}) == ""
    assert routed([CRM, REST], url="contoso.gone", **{place: "contoso.crm"}) == "*"
    assert routed([CRM], url=" ", **{place: "contoso.crm"}) == "contoso.crm"


SAME, SAME_TOO, TWICE = an_offer("a.one", "Same"), an_offer("b.two", "same "), an_offer("a.one", "Same", "SAME")
BY_ID, BY_PART, BY_TITLE = an_offer("mail"), an_offer("a.mail"), an_offer("b.x", "mail")


@pytest.mark.parametrize(
    ("offers", "name", "taker"),
    [
        *(
            ([CRM, MAIL, OTHER_MAIL], name, "contoso.crm")
            for name in ("CONTOSO.CRM", "  contoso.crm ", "CRM", " crm", "contoso  crm", "CONTOSO SALES")
        ),
        ([CRM, MAIL], "mail", "contoso.mail"),
        ([CRM, MAIL, OTHER_MAIL], "mail", ""),
        ([SAME], "Same", "a.one"),
        ([SAME, SAME_TOO], "Same", ""),
        ([TWICE], "same", "a.one"),
        ([BY_TITLE, BY_PART, BY_ID], "mail", "mail"),
        ([BY_TITLE, BY_PART], "mail", "a.mail"),
        ([BY_TITLE], "mail", "b.x"),
        ([CRM, REST], "unheard.of", "*"),
        ([CRM], "unheard.of", ""),
        ([REST], "", "*"),
        ([CRM], "", ""),
        ([], "", ""),
        ([an_offer("contoso.*")], "unheard.of", ""),
        ([an_offer("contoso.crm", "*")], "unheard.of", ""),
        ([an_offer("*", "Anything"), CRM], "Contoso CRM", "contoso.crm"),
    ],
    ids=repr,
)
def test_a_name_is_an_id_or_a_unique_second_part_or_a_unique_title_else_the_default_offers(
    offers: list[Offer], name: str, taker: str
) -> None:
    assert routed(offers, title=name) == taker


@pytest.mark.parametrize(
    ("lead", "url", "offer"),
    [
        (Lead(lead_source="AzureMarketplace-INS|contoso.crm"), "", "contoso.crm"),
        (Lead(lead_source="AzureMarketplace-INS|contoso.crm"), "contoso.mail", "contoso.mail"),
        (Lead(lead_source="AzureMarketplace-INS|Contoso CRM", product_id="contoso.mail"), "", "contoso.crm"),
        (
            Lead(lead_source="AzureMarketplace", product_id="contoso.mail", offer_title="Contoso CRM"),
            "",
            "contoso.mail",
        ),
        (Lead(lead_source="AzureMarketplace", offer_title="Contoso CRM"), "", "contoso.crm"),
        (Lead(), "", ""),
    ],
)
def test_a_leads_references_are_its_address_source_product_and_title(lead: Lead, url: str, offer: str) -> None:
    found = route(OfferReferences.of(lead, url), [CRM, MAIL])
    assert (found.id if found else "") == offer


names = st.sampled_from(
    ["a.x", "b.x", "A.X", "x", "y", " X ", "a.y", "b", "t", "T", "two  words", "Two Words", "*", ""]
)
offer_lists = st.lists(
    st.builds(
        lambda offer_id, titles: an_offer(offer_id, *titles), names.filter(str.strip), st.lists(names, max_size=2)
    ),
    max_size=5,
    unique_by=lambda offer: " ".join(offer.id.casefold().split()),
)


def _same(one: str, other: str) -> bool:
    return one.casefold().split() == other.casefold().split()


def named_by(reference: str, offers: list[Offer]) -> Offer | None:
    """The rules of naming in order: an id, a unique second part of an id, a unique title."""
    if not reference.strip():
        return None
    by_id = [offer for offer in offers if _same(offer.id, reference)]
    by_part = [offer for offer in offers if _same(offer.id.partition(".")[2], reference)]
    by_title = [offer for offer in offers if any(_same(title, reference) for title in offer.titles)]
    return next((named[0] for named in (by_id, by_part, by_title) if len(named) == 1), None)


@given(offer_lists, names, names, names, names)
def test_routing_is_the_first_place_that_names_an_offer_by_the_rules(
    offers: list[Offer], url: str, lead_source: str, product_id: str, title: str
) -> None:
    asked = (url,) if url.strip() else (lead_source, product_id, title)
    found = (named_by(reference, offers) for reference in asked)
    default = next((offer for offer in offers if offer.id == "*"), None)
    expected = next((offer for offer in found if offer), default)
    assert route(OfferReferences(url, lead_source, product_id, title), offers) is expected


@given(leads, any_text, offer_lists)
def test_any_lead_is_routed_or_not_without_an_error(lead: Lead, url: str, offers: list[Offer]) -> None:
    found = route(OfferReferences.of(lead, url), offers)
    assert found is None or found in offers


# --- What an offer may say --------------------------------------------------------------------------------------------

VALID = {
    "id": "contoso.crm",
    "titles": ["Contoso CRM"],
    "destinations": [
        {
            "name": "table",
            "type": "azure_table",
            "settings": {"table": "Leads", "connection_string": "env:CRM"},
            "when": {"stage": ["purchase"], "source": ["SPZA"], "country": ["DE"], "is_test": False},
            "pace": 2.5,
        },
        TABLE | {"name": "archive"},
    ],
    "policies": {"test_leads": "skip", "dnc": "note", "repeats": "skip", "unknown": "hold"},
    "stages": {"Subscribe": "purchase"},
}


def refusal(data: object) -> str:
    with pytest.raises(InvalidOffer) as caught:
        read_offer(data)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def changed(path: str, value: object) -> dict[str, Any]:
    """`VALID` with one member replaced; a path such as destinations.0.name."""
    data: Any = json.loads(json.dumps(VALID))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    member = data
    for part in parents:
        member = member[part]
    member[last] = value
    return dict(data)


def test_an_offer_is_read_as_it_was_written() -> None:
    offer = read_offer(VALID)
    assert offer.model_dump(mode="json", exclude_unset=True) == VALID
    assert Offer.model_validate_json(offer.model_dump_json()) == offer


UNADDRESSABLE = [
    ".",
    "..",
    "/",
    "a/",
    "/a",
    "a//b",
    "a/../b",
    "./a",
    "a/.",
    "a%2Fb",
    "%2f",
    "a/ /b",
    "a\tb",
    "a\x00",
    "a\x85b",
]


@pytest.mark.parametrize("offer_id", UNADDRESSABLE)
def test_an_id_that_no_address_can_name_is_refused_with_what_to_leave_out(offer_id: str) -> None:
    reason = refusal(VALID | {"id": offer_id})
    assert re.match(r"id: can't be part of an address: leave out .", reason)
    stored = Offer.model_validate_json(json.dumps(VALID | {"id": offer_id}))
    assert stored.id == offer_id.strip(), "one that is stored already can still be read"


ids = st.text(st.sampled_from("aB1.*/%2fF \\?#'é\N{PILE OF POO}\t"), min_size=1, max_size=8) | st.text(
    min_size=1, max_size=8
)


def named_by_address(address: str) -> str:
    """The offer that an address names, after the host has normalised the path."""
    params = parse_route("api/leads/{*offer}").match(path_of(urlsplit(address).path))
    assert params is not None
    return url_offer(func.HttpRequest("POST", address, route_params=params, body=b""))


@given(offer_id=ids, safe=st.sampled_from(["", "/"]), end=st.sampled_from(["", "/", "//", "%2F", "/.", "?code=key"]))
@example("contoso.crm", "", "/")
@example("a/b.c", "", "")
def test_every_other_id_is_named_by_its_address(offer_id: str, safe: str, end: str) -> None:
    try:
        offer = read_offer(VALID | {"id": offer_id})
    except InvalidOffer:
        return
    named = named_by_address(f"https://x/api/leads/{quote(offer.id, safe=safe)}{end}")
    assert named == offer.id
    assert route(OfferReferences(url=named), [offer]) is offer


@pytest.mark.parametrize(
    "path",
    [
        "contoso/crm/",
        "contoso/crm%2F",
        "contoso/crm/%2f/",
        "contoso//crm",
        "contoso/./crm/.",
        "contoso%2F%2Fcrm",
        "contoso%2F.%2Fcrm%2F.",
        "contoso/gone/../crm",
        "contoso/crm%2F..",
        "%20contoso/crm/%20/",
    ],
)
def test_slashes_and_dots_around_its_parts_change_no_address(path: str) -> None:
    assert named_by_address(f"https://x/api/leads/{path}") == "contoso/crm"


def test_what_is_left_out_has_the_usual_value() -> None:
    offer = read_offer({"id": " contoso.crm ", "destinations": [TABLE]})
    assert offer.id == "contoso.crm"
    assert offer.titles == []
    assert offer.policies.model_dump() == {
        "test_leads": "deliver",
        "dnc": "flag",
        "existing_records": "keep",
        "repeats": "add",
        "unknown": "resend",
        "daily_ceiling": 10_000,
        "retention_days": 90,
        "dead_letter_retention_days": 180,
        "silence": "alarm",
        "expected_silence_hours": None,
    }
    assert offer.announce is None
    assert offer.destinations[0].secret_expires == {}
    assert offer.destinations[0].pace == 5
    assert offer.destinations[0].when == When()
    assert offer.destinations[0].mapping == {}
    assert offer.destinations[0].follow_up == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", ""),
        ("id", "   "),
        ("id", CANARY * 50),
        ("id", 5),
        ("titles", CANARY),
        ("titles.0", [CANARY]),
        ("destinations", []),
        ("destinations", [TABLE | {"name": f"n{number}"} for number in range(11)]),
        ("destinations", CANARY),
        ("destinations.0.name", CANARY.upper()),
        ("destinations.0.name", ""),
        ("destinations.0.type", CANARY),
        ("destinations.0.settings", CANARY),
        ("destinations.0.settings.table", f"{CANARY}!"),
        ("destinations.0.settings.connection_string", f"AccountKey={CANARY}"),
        ("destinations.0.settings.table_service_uri", f"http://{CANARY}"),
        ("destinations.0.when.stage", [CANARY]),
        ("destinations.0.when.is_test", CANARY),
        ("destinations.0.when.country", CANARY),
        ("destinations.0.pace", 0),
        ("destinations.0.pace", CANARY),
        ("policies.dnc", CANARY),
        ("policies.test_leads", CANARY),
        ("policies.repeats", CANARY),
        ("policies.unknown", CANARY),
        ("stages.Subscribe", CANARY),
    ],
)
def test_a_wrong_value_is_answered_in_one_line_that_names_the_field_and_not_the_value(path: str, value: object) -> None:
    said = refusal(changed(path, value))
    assert said.startswith(path), said
    assert len(said.splitlines()) == 1
    assert CANARY.casefold() not in said.casefold()


@pytest.mark.parametrize(
    "place", ["", "policies.", "destinations.0.", "destinations.0.when.", "destinations.0.settings."]
)
def test_a_field_that_there_is_not_is_named_with_what_to_do(place: str) -> None:
    assert (
        refusal(changed(f"{place}colour", CANARY))
        == f"{place}colour: there is no such field: remove it or correct its name"
    )


@pytest.mark.parametrize(
    ("path", "value", "begins", "words"),
    [
        ("destinations.0.settings.table", "my leads", "{}: does not have the right form.", "The table's name"),
        ("destinations.0.name", "My table", "{}: does not have the right form.", "a-z, 0-9, _"),
        ("destinations.0.type", "fax", "{}", "azure_table"),
        ("destinations", [TABLE, TABLE], "{}: ", "name"),
        (
            "destinations.0.settings.table_service_uri",
            "https://other.table.core.windows.net",
            "destinations.0.settings.connection_string: ",
            "but not both",
        ),
    ],
)
def test_a_refusal_says_what_is_asked_for(path: str, value: object, begins: str, words: str) -> None:
    said = refusal(changed(path, value))
    assert said.startswith(begins.format(path))
    assert words in said


@given(
    json_values
    | st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(VALID, json_values)
        | {
            "id": st.just("contoso.crm") | json_values,
            "destinations": st.lists(
                st.fixed_dictionaries({}, optional=dict.fromkeys(["name", "type", "settings", "when"], json_values))
                | st.just(TABLE),
                max_size=2,
            ),
        },
    )
)
@example({"id": "\ud800", "destinations": [TABLE]})
@example({"line\nbreak": 1})
def test_any_json_is_an_offer_or_refused_in_one_line(data: Any) -> None:
    try:
        offer = read_offer(data)
    except InvalidOffer as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert Offer.model_validate_json(offer.model_dump_json()) == offer


def test_the_stage_of_an_action_can_differ_for_an_offer() -> None:
    offer = read_offer(VALID | {"stages": {"subscribe": "purchase", "INS": "trial"}})
    stages = [offer.stage(Lead(action_code=action)) for action in ("Subscribe", "ins", "PLT", "")]
    assert stages == [Stage.PURCHASE, Stage.TRIAL, Stage.CONTACT_REQUESTED, Stage.UNKNOWN]


def test_a_destination_is_found_by_its_name() -> None:
    offer = read_offer(VALID)
    assert offer.destination("archive") == offer.destinations[1]
    assert offer.destination("gone") is None


# --- Which leads a destination admits ---------------------------------------------------------------------------------

LEAD = Lead(lead_source="AzureMarketplace-PLT|contoso.crm", country="Germany", email="ada@example.com")
TEST_LEAD = Lead(first_name="MSFT_TEST_636573304831318844", lead_source="AzureMarketplace")


@pytest.mark.parametrize(
    ("when", "admitted"),
    [
        ({}, True),
        ({"stage": ["contact_requested", "purchase"]}, True),
        ({"stage": ["purchase"]}, False),
        ({"source": ["azuremarketplace"]}, True),
        ({"source": ["SPZA", "TestDrive"]}, False),
        ({"country": ["de"]}, True),
        ({"country": ["France", "Germany"]}, True),
        ({"country": ["AT", "CH"]}, False),
        ({"is_test": False}, True),
        ({"is_test": True}, False),
        ({"stage": ["contact_requested"], "source": ["AzureMarketplace"], "country": ["DE"], "is_test": False}, True),
        ({"stage": ["contact_requested"], "country": ["AT"]}, False),
    ],
    ids=str,
)
def test_a_lead_has_to_meet_every_condition_that_is_set(when: dict[str, Any], admitted: bool) -> None:
    assert When.model_validate(when).admits(LEAD, Stage.CONTACT_REQUESTED) is admitted


def test_test_leads_can_be_admitted_alone_and_a_lead_without_a_country_is_in_none() -> None:
    assert When(is_test=True).admits(TEST_LEAD, Stage.UNKNOWN)
    assert not When(is_test=False).admits(TEST_LEAD, Stage.UNKNOWN)
    assert not When(country=["DE"]).admits(Lead(), Stage.UNKNOWN)


@pytest.mark.parametrize("name", ["SPZA", "AppSource", "AppSource (SPZA)"])
def test_app_source_goes_by_any_of_its_names(name: str) -> None:
    assert When(source=[name]).admits(Lead(lead_source="SPZA-PLT|contoso.crm"), Stage.CONTACT_REQUESTED)


def test_a_country_that_no_lead_can_be_from_is_refused() -> None:
    said = refusal(changed("destinations.0.when.country", ["DE", "Narnia"]))
    assert said == "destinations.0.when.country.1: is not a country: write its ISO 3166 code, such as DE"


conditions = st.builds(
    When,
    stage=st.lists(st.sampled_from(Stage), max_size=2),
    source=st.lists(st.sampled_from(["AzureMarketplace", "SPZA"]), max_size=2),
    country=st.lists(st.sampled_from(["DE", "US"]), max_size=2),
    is_test=st.sampled_from([None, True, False]),
)


@given(conditions, leads | st.just(LEAD) | st.just(TEST_LEAD), st.sampled_from(Stage))
def test_all_conditions_admit_what_each_of_them_admits(when: When, lead: Lead, stage: Stage) -> None:
    each = [When().model_copy(update={part: getattr(when, part)}) for part in ("stage", "source", "country", "is_test")]
    assert when.admits(lead, stage) is all(part.admits(lead, stage) for part in each)
    assert When().admits(lead, stage)


# --- Mapping and follow-up ----------------------------------------------------------------------------------------------

DYNAMICS: dict[str, Any] = {
    "name": "crm",
    "type": "dataverse",
    "settings": {"url": "https://contoso.crm4.dynamics.com"},
}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"mapping": {"jobtitle": "{titel}"}}, ["mapping.jobtitle", "{titel}", "first_name"]),
        ({"mapping": {"job title": "x"}}, ["mapping", "'job title'"]),
        ({"mapping": {"a@odata.bind": "/x(k='{company}')"}}, ["mapping.a@odata.bind", "one record"]),
        ({"mapping": {"a@odata.bind": 7}}, ["mapping.a@odata.bind", "one record"]),
        ({"follow_up": {"purchase": {"list": "1"}}}, ["follow_up.purchase.list", "campaign"]),
        ({"follow_up": {"purchase": {"owner": "me"}}}, ["follow_up.purchase.owner", "user:ID"]),
        ({"follow_up": {"purchase": {"task": {"subject": "{x}"}}}}, ["subject", "{x}"]),
        ({"follow_up": {"bought": {}}}, ["follow_up", "bought"]),
    ],
)
def test_a_mapping_or_follow_up_that_cannot_work_is_refused(changes: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(InvalidOffer) as caught:
        read_offer({"id": "a.b", "destinations": [DYNAMICS | changes]})
    for name in names:
        assert name in str(caught.value)


@pytest.mark.parametrize("changes", [{"mapping": {"a": "b"}}, {"follow_up": {"purchase": {"rating": "hot"}}}])
def test_a_type_that_knows_neither_mapping_nor_follow_up_says_so(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidOffer, match=r"mapping|follow_up"):
        read_offer({"id": "a.b", "destinations": [TABLE | changes]})
