"""The report: leads of the last days by offer, source, stage and country, and their delivery time. No personal data."""

from collections import Counter
from datetime import date, timedelta
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from leads.core import clock
from leads.core.histogram import Histogram
from leads.core.lead import Stage
from leads.health.daily_counts import DailyCounts
from leads.health.daily_numbers import OfferDay
from leads.operations.operation import QUERY, Request

MOST_DAYS: Final = 366
FEW_LEADS: Final = 5
NAMED_COUNTRIES: Final = 40
OTHER: Final = "other"
_WAY: Final = (Stage.INITIAL_INTEREST, Stage.CONTACT_REQUESTED, Stage.TRIAL, Stage.PURCHASE)
_WITHIN: Final = "from its arrival to its delivery, in seconds, within 5 %"


class WantedReport(Request):
    """The days of the report."""

    days: Annotated[int, QUERY] = Field(
        default=30, ge=1, le=MOST_DAYS, description=f"How many days, today (UTC) included; 1 to {MOST_DAYS}."
    )


class Count(BaseModel):
    """The number of leads of a day with the same offer, source, stage and country."""

    offer: str = Field(description="The offer's id; - for leads that no offer takes.")
    source: str = Field(description="Microsoft's name of the store that the customers used; empty = another source.")
    stage: Stage = Field(description="How far the customers have come.")
    country: str = Field(
        description=f"ISO 3166 alpha-2; empty = not known; {OTHER} = one of those with fewer than {FEW_LEADS} leads in "
        f"all these days, or not among the {NAMED_COUNTRIES} with the most."
    )
    first: int = Field(description="Leads without repeats.")
    repeats: int = Field(description="Leads of customers who did the same before.")


class Day(BaseModel):
    """The leads of a day (UTC), without test leads, imported leads and redeliveries."""

    day: date
    counts: list[Count]


class TimeToCrm(BaseModel):
    """How long the leads of these days took to a destination."""

    offer: str
    destination: str
    leads: int = Field(description="Number of leads delivered there.")
    median_seconds: float = Field(description=f"Half of the leads took at most this long {_WITHIN}.")
    p95_seconds: float = Field(description=f"95 % of the leads took at most this long {_WITHIN}.")


class Reached(BaseModel):
    """The number of leads at a stage, without repeats."""

    stage: Stage
    first: int


class Report(BaseModel):
    """The numbers of some days (UTC). They hold no personal data, and outlive the personal data of the leads."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    begin: date = Field(validation_alias="from", serialization_alias="from", description="The first of the days.")
    end: date = Field(
        validation_alias="to",
        serialization_alias="to",
        description="The last day: today, or an earlier day while later days are still counted.",
    )
    days: list[Day] = Field(description="Each of the days, the oldest first.")
    time_to_crm: list[TimeToCrm]
    reached: list[Reached] = Field(description="From interest to purchase.")


def show_report(daily_counts: DailyCounts, request: WantedReport) -> Report:
    """Show the leads of the last days by offer, source, stage and country, and how long deliveries took."""
    now = clock.now()
    begin = now.date() - timedelta(days=request.days - 1)
    found, end = daily_counts.since(begin, now)
    by_day: dict[date, list[Count]] = {begin + timedelta(days=n): [] for n in range((end - begin).days + 1)}
    named = _named_countries(found)
    for numbers in sorted(found, key=lambda numbers: numbers.key):
        by_day[numbers.day] += _counts(numbers, named)
    return Report(
        begin=begin,
        end=end,
        days=[Day(day=day, counts=counts) for day, counts in by_day.items()],
        time_to_crm=_times(found),
        reached=_reached(found),
    )


def _named_countries(found: list[OfferDay]) -> set[str]:
    leads = Counter[str]()
    for numbers in found:
        for group, count in (*numbers.first.items(), *numbers.repeats.items()):
            leads[group.country] += count
    del leads[""]
    return {country for country, count in leads.most_common(NAMED_COUNTRIES) if count >= FEW_LEADS} | {""}


def _counts(numbers: OfferDay, named: set[str]) -> list[Count]:
    counts: dict[tuple[str, str, str], Count] = {}
    for counter, field in ((numbers.first, "first"), (numbers.repeats, "repeats")):
        for group, leads in counter.items():
            country = group.country if group.country in named else OTHER
            key = group.source, group.stage, country
            if key not in counts:
                counts[key] = Count(
                    offer=numbers.offer, source=key[0], stage=Stage(key[1]), country=country, first=0, repeats=0
                )
            setattr(counts[key], field, getattr(counts[key], field) + leads)
    return [counts[key] for key in sorted(counts)]


def _times(found: list[OfferDay]) -> list[TimeToCrm]:
    taken: dict[tuple[str, str], Histogram] = {}
    names: dict[str, str] = {}
    for numbers in found:
        names[numbers.key[1]] = numbers.offer
        for destination, times in numbers.times.items():
            taken.setdefault((numbers.key[1], destination), Histogram()).add_all(times)
    return [
        TimeToCrm(
            offer=names[offer],
            destination=destination,
            leads=times.count,
            median_seconds=round(times.percentile(50), 2),
            p95_seconds=round(times.percentile(95), 2),
        )
        for (offer, destination), times in sorted(taken.items())
    ]


def _reached(found: list[OfferDay]) -> list[Reached]:
    leads = Counter[str]()
    for numbers in found:
        for group, count in numbers.first.items():
            leads[group.stage] += count
    return [Reached(stage=stage, first=leads[stage.value]) for stage in _WAY]
