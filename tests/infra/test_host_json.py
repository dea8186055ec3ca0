"""What host.json lets through to the log: every event and request, and nothing of a host that is idle."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.infra import code
from tests.infra.bicep import ROOT

LOGGING: Final = json.loads((ROOT / "host.json").read_text())["logging"]
LEVELS: Final = ["Trace", "Debug", "Information", "Warning", "Error", "Critical", "None"]
IDLE: Final = [
    # What an idle host writes at Information. Sources: FunctionExecutor.cs and TimerListener.cs (Azure/azure-webjobs-sdk and
    # its extensions), and the Azure SDK's own logger, which the host hands on.
    "Function.watch",
    "Function.health",
    "Host.Startup",
    "Host.General",
    "Host.Triggers.Timer",
    "Host.Aggregator",
    "Host.LanguageWorkerConfig",
    "Worker.LanguageWorkerChannel.python",
    "Microsoft.Azure.WebJobs.Hosting.OptionsLoggingService",
    "Microsoft.AspNetCore.Hosting.Diagnostics",
    "Azure.Core",
    "Azure.Identity",
    "System.Net.Http.HttpClient",
]


def passes(category: str, level: str) -> bool:
    """Whether a record is kept: the rule with the longest matching beginning decides, else `default`.

    Source: LoggerRuleSelector.cs in Azure/azure-webjobs-sdk, which Application Insights' filter uses. It knows no `*`, unlike
    the selector in dotnet/runtime, which filters as well.
    """
    rules = LOGGING["logLevel"]
    begins = [name for name in rules if name != "default" and category.lower().startswith(name.lower())]
    least = rules[max(begins, key=len)] if begins else rules["default"]
    return LEVELS.index(level) >= LEVELS.index(least)


@pytest.mark.parametrize("function", sorted(code.functions()))
def test_what_the_app_says_in_any_function_is_kept(function: str) -> None:
    assert passes(f"Function.{function}.User", "Information")
    assert not passes(f"Function.{function}.User", "Debug")


@pytest.mark.parametrize("function", sorted(code.functions()))
def test_what_went_wrong_in_any_function_is_kept(function: str) -> None:
    assert passes(f"Function.{function}", "Error")


def test_each_request_is_kept_because_alerts_ask_for_those_that_ended_well_too() -> None:
    assert passes("Host.Results", "Information")


@pytest.mark.parametrize("category", IDLE)
def test_an_idle_host_writes_nothing_and_its_warnings_stay(category: str) -> None:
    assert not passes(category, "Information")
    assert passes(category, "Warning")


def test_no_rule_is_one_that_only_one_of_the_two_filters_understands() -> None:
    assert [name for name in LOGGING["logLevel"] if "*" in name] == []


def test_no_rule_is_about_a_function_that_is_gone() -> None:
    named = {name.split(".")[1] for name in LOGGING["logLevel"] if name.startswith("Function.")}
    assert named == code.functions()


def test_neither_events_nor_what_alerts_ask_for_is_sampled() -> None:
    never = set(LOGGING["applicationInsights"]["samplingSettings"]["excludedTypes"].split(";"))
    assert {"Trace", "Request", "Exception"} <= never
