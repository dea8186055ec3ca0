"""What a deployment costs a month, from the list of prices, the deployment's own resources, and what the app does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from tests.infra.bicep import INFRA, Deployment

LISTED: Final[dict[str, Any]] = json.loads((INFRA / "prices.json").read_text())
SECONDS: Final = 730 * 3600
MINUTES: Final = SECONDS / 60

# What a tick of `watch` asks for (docs/explanation/how-it-works.md); one request of each minute is to a queue.
TABLES_WITHOUT_LEADS: Final = MINUTES * 21 + MINUTES / 15 * 19 + MINUTES / 5 * 2 + MINUTES / 1440 * 17
QUEUES_WITHOUT_LEADS: Final = SECONDS + MINUTES
"""One look a second into the queue, and one a minute into the poison queue."""
BLOBS_OF_FIRST: Final = MINUTES * 7
"""The host's lock, and the lease of one timer."""
BLOBS_OF_FURTHER: Final = MINUTES * 14
INSTANCES_UP: Final = 3
"""One for each group of functions, at most."""
REQUESTS_OF_LEAD: Final = {100: 10, 1_000: 10, 100_000: 8, 10_000_000: 6}
"""Three of them to queues."""
GB_OF_LOGS: Final = 6e-6
GB_OF_LOGS_OF_REQUEST: Final = 1e-6
GB_OF_LEAD: Final = 1e-5


def price(name: str) -> float:
    return float(LISTED["prices"][name]["usd"])


def free(name: str) -> float:
    return float(LISTED["free"][name]["amount"])


@dataclass(frozen=True)
class Choice:
    """What a deployment keeps warm, and on instances of how many MB."""

    memory_mb: int
    intake: int
    delivery: int

    @classmethod
    def of(cls, deployment: Deployment) -> Choice:
        scaling = deployment.the("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"]
        warm = {group["name"]: group["instanceCount"] for group in scaling["alwaysReady"]}
        return cls(scaling["instanceMemoryMB"], warm.get("http", 0), warm.get("function:deliver_lead", 0))


def monitoring(deployment: Deployment) -> float:
    """Alert rules and the availability test."""
    rules = deployment.of_type("Microsoft.Insights/scheduledQueryRules")
    every = {"PT5M": "alert rule on logs, every 5 minutes", "PT15M": "alert rule on logs, every 15 minutes"}
    on_logs = sum(price(every[rule["properties"]["evaluationFrequency"]]) for rule in rules)
    on_metrics = len(deployment.of_type("Microsoft.Insights/metricAlerts")) * price("alert rule on a metric")
    return on_logs + on_metrics + tests(deployment) * price("execution of an availability test")


def tests(deployment: Deployment) -> float:
    """Executions of the availability test a month."""
    test = deployment.the("Microsoft.Insights/webtests")["properties"]
    return float(len(test["Locations"]) * SECONDS / test["Frequency"])


def costs(deployment: Deployment, leads: int, choice: Choice) -> dict[str, float]:
    """Each part of a month's cost in USD, where every execution takes a second of an instance that has nothing else to do."""
    gb = choice.memory_mb / 1024
    demanded = MINUTES  # watch
    warm = 0.0
    for instances, executions in ((choice.intake, leads + tests(deployment)), (choice.delivery, leads)):
        if instances:
            warm += executions
        else:
            demanded += executions
    blobs = BLOBS_OF_FIRST + (INSTANCES_UP - 1) * BLOBS_OF_FURTHER
    requests = (
        (TABLES_WITHOUT_LEADS + leads * (REQUESTS_OF_LEAD[leads] - 3)) * price("request to a table")
        + (QUEUES_WITHOUT_LEADS + leads * 3) * price("request to a queue")
        + blobs * price("request to a blob's lease")
    )
    logs = leads * GB_OF_LOGS + (MINUTES + tests(deployment)) * GB_OF_LOGS_OF_REQUEST
    return {
        "warm instances": (choice.intake + choice.delivery) * gb * SECONDS * price("always ready, GB-second, baseline"),
        "executions on warm instances": warm * (gb * price("always ready, GB-second, executing") + price("execution")),
        "executions on demand": max(0.0, demanded * gb - free("on demand, GB-second")) * price("on demand, GB-second")
        + max(0.0, demanded - free("execution")) * price("execution"),
        "storage requests": requests,
        "stored leads, more each month": leads * GB_OF_LEAD * price("GB of tables a month, ZRS"),
        "logs": max(0.0, logs - free("GB of logs")) * price("GB of logs"),
        "alert rules and the availability test": monitoring(deployment),
    }


def volume_rows(deployment: Deployment) -> list[str]:
    """What each part costs at three volumes, as it stands in the documents."""
    columns = [costs(deployment, leads, Choice.of(deployment)) for leads in REQUESTS_OF_LEAD]
    found = [f"| {part} | {' | '.join(f'{column[part]:.2f}' for column in columns)} |" for part in columns[0]]
    return [*found, f"| **together** | {' | '.join(f'**{sum(column.values()):.0f}**' for column in columns)} |"]


CHOICES: Final = {
    "both": (1, 1),
    "the intake alone": (1, 0),
    "neither": (0, 0),
}


def choice_rows(deployment: Deployment) -> list[str]:
    """What the choices of warmth and memory cost at 1,000 leads a month, as it stands in the documents."""
    return [
        f"| {name} | "
        + " | ".join(f"{sum(costs(deployment, 1_000, Choice(memory, *warm)).values()):.0f}" for memory in (512, 2048))
        + " |"
        for name, warm in CHOICES.items()
    ]


def flood(instances: int, memory_mb: int) -> float:
    """What instances cost that are busy for an hour."""
    return instances * memory_mb / 1024 * 3600 * price("on demand, GB-second")
