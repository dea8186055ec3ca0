"""Country names and codes as people write them. Pure: no I/O."""

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_LONGEST_NAME: Final = 64

# Everyday names that differ from ISO 3166's ("Türkiye", "Korea, Republic of"), compared by letters alone.
_EVERYDAY_COUNTRIES: Final = {
    "us": "United States|US|USA|America",
    "gb": "UK|Great Britain|United Kingdom|Britain|England|Scotland|Wales|Northern Ireland",
    "ae": "UAE",
    "ba": "Bosnia",
    "bn": "Brunei",
    "bo": "Bolivia",
    "cd": "DR Congo|DRC|Democratic Republic of the Congo|Congo Kinshasa",
    "cg": "Republic of the Congo|Congo Brazzaville",
    "ci": "Ivory Coast",
    "cv": "Cape Verde",
    "cz": "Czech Republic",
    "fk": "Falkland Islands",
    "fm": "Micronesia",
    "hk": "Hong Kong SAR|Hong Kong SAR China",
    "ir": "Iran",
    "kp": "North Korea",
    "kr": "Korea|South Korea|Republic of Korea",
    "la": "Laos",
    "md": "Moldova",
    "mk": "Macedonia",
    "mm": "Burma",
    "mo": "Macau|Macao SAR|Macau SAR",
    "nl": "Holland|Nederland",
    "nr": "Nauru",
    "ps": "Palestine|Palestinian Authority",
    "ru": "Russia",
    "sx": "Sint Maarten",
    "sy": "Syria",
    "sz": "Swaziland",
    "tr": "Turkey",
    "tw": "Taiwan",
    "tz": "Tanzania",
    "va": "Vatican|Vatican City",
    "ve": "Venezuela",
    "vg": "British Virgin Islands",
    "vi": "US Virgin Islands",
    "vn": "Vietnam",
    "at": "Österreich",
    "br": "Brasil",
    "ch": "Schweiz|Suisse",
    "de": "Deutschland",
    "es": "España",
    "it": "Italia",
}


def country_code(text: str) -> str:
    """ISO 3166 alpha-2 of a country's name or code as people write it; "" if the text names no country."""
    if not text or len(text) > _LONGEST_NAME:
        return ""
    codes, names = _countries()
    return codes.get(text.upper()) or names.get(_letters(text), "")


def _letters(text: str) -> str:
    plain = "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).casefold()))
    return plain.removeprefix("the")


@lru_cache(maxsize=1)
def _countries() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Alpha-2 by code and by name. Codes are matched exactly: "NA" is Namibia, "n/a" is not."""
    # Imported at the first look-up, so that a cold start is shorter.
    from iso3166 import countries

    codes: dict[str, str] = {}
    names: dict[str, str] = {}
    for country in countries:
        codes.update((code, country.alpha2) for code in (country.alpha2, country.alpha3, country.numeric))
        names.update((_letters(name), country.alpha2) for name in (country.name, country.apolitical_name))
    for code, everyday in _EVERYDAY_COUNTRIES.items():
        names.update((_letters(name), code.upper()) for name in everyday.split("|"))
    return codes, names
