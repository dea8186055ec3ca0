"""What a deployment promises. Each check returns what is wrong, so that it can be shown to find it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from leads.platform.events import ALARMS
from tests.infra import code
from tests.infra.bicep import Deployment

READ_BY_THE_PLATFORM: Final = {
    # Microsoft Learn, "App settings reference for Azure Functions" and "Connecting to host storage with an identity".
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "AzureWebJobsDisableHomepage",
    # HttpRequestBodySizeMiddleware.cs in Azure/azure-functions-host.
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
}
NOT_SET: Final = {
    "LeadsStorage": "a connection string is a secret, and the account takes none",
    "LeadsStorage__accountName": "the addresses say the same, in every cloud",
    "LeadsStorage__blobServiceUri": "the app keeps no blobs",
    "WEBSITE_HOSTNAME": "the platform sets it",
    "WEBSITE_AUTH_ENABLED": "the platform sets it",
}
FORBIDDEN_ON_FLEX: Final = {
    # Microsoft Learn, "Flex Consumption plan deprecated properties and settings".
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTOVERVNET",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_DNS_SERVER",
    "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT",
    "WEBSITE_NODE_DEFAULT_VERSION",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_SKIP_CONTENTSHARE_VALIDATION",
    "WEBSITE_TIME_ZONE",
    "TZ",
    "WEBSITE_VNET_ROUTE_ALL",
}
ROLES: Final = {
    # Microsoft Learn, "Azure built-in roles".
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
}
APP, OPERATOR = "app", "operator"
RIGHTS: Final = {
    # who, on what, as what: and why
    (APP, "Microsoft.Storage/storageAccounts", "Storage Blob Data Owner"): "the host's locks and keys; the package",
    (APP, "Microsoft.Storage/storageAccounts", "Storage Queue Data Contributor"): "puts, gets and deletes messages",
    (APP, "Microsoft.Storage/storageAccounts", "Storage Table Data Contributor"): "the ledger and the other tables",
    (APP, "Microsoft.KeyVault/vaults", "Key Vault Secrets User"): "reads the secrets that offers name",
    (APP, "Microsoft.Insights/components", "Monitoring Metrics Publisher"): "writes its log",
    (OPERATOR, "Microsoft.Storage/storageAccounts", "Storage Queue Data Contributor"): "python -m leads",
    (OPERATOR, "Microsoft.Storage/storageAccounts", "Storage Table Data Contributor"): "python -m leads",
    (OPERATOR, "Microsoft.KeyVault/vaults", "Key Vault Secrets Officer"): "stores the secrets of the CRMs",
}
NAMES: Final = {
    # Microsoft Learn, "Naming rules and restrictions for Azure resources".
    "Microsoft.Resources/resourceGroups": r"[\w().-]{0,89}[\w()-]",
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[A-Za-z0-9][\w-]{2,127}",
    "Microsoft.OperationalInsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    "Microsoft.Insights/components": r"[^%&\\?/]{0,259}[^%&\\?/ .]",
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.KeyVault/vaults": r"(?=.{3,24}$)[A-Za-z](?:-?[A-Za-z0-9])+",
    "Microsoft.Web/serverfarms": r"[A-Za-z0-9-]{1,60}",
    "Microsoft.Web/sites": r"[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]",
    "Microsoft.Network/virtualNetworks": r"[A-Za-z0-9][\w.-]{0,62}\w",
    "Microsoft.Network/privateEndpoints": r"[A-Za-z0-9][\w.-]{0,62}\w",
    "Microsoft.Insights/actionGroups": r"[^:<>+/&%\\?|]{0,259}[^:<>+/&%\\?| .]",
    "Microsoft.Insights/scheduledQueryRules": r"[^*#&+:<>?@%{}\\/]{0,259}[^*#&+:<>?@%{}\\/ .]",
    "Microsoft.Insights/metricAlerts": r"[^*#&+:<>?@%{}\\/|]{0,259}[^*#&+:<>?@%{}\\/| .]",
    "Microsoft.Insights/webtests": r"[^<>%&\\?/]{0,259}[^<>%&\\?/ .]",
    "Microsoft.Insights/workbooks": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}
UNIQUE_IN_THE_WORLD: Final = {
    "Microsoft.Storage/storageAccounts",
    "Microsoft.KeyVault/vaults",
    "Microsoft.Web/sites",
}
A_SECRET: Final = re.compile(
    r"AccountKey=|SharedAccessSignature|sig=|Password=|list(?:Account)?(?:Keys|Sas|Secrets)\(", re.IGNORECASE
)


def wrong_settings(deployment: Deployment, own: frozenset[str] = frozenset()) -> set[str]:
    """App settings that are missing or that nothing reads; `own` are those that the publisher asked for."""
    wanted = (code.settings() - NOT_SET.keys()) | READ_BY_THE_PLATFORM | own
    return set(deployment.settings) ^ wanted


def missing_storage(deployment: Deployment) -> set[str]:
    """Queues and tables that the code uses and nobody makes, and the other way round."""
    return (_children(deployment, "queueServices/queues") ^ code.queues()) | (
        _children(deployment, "tableServices/tables") ^ code.tables()
    )


def _children(deployment: Deployment, kind: str) -> set[str]:
    found = deployment.of_type(f"Microsoft.Storage/storageAccounts/{kind}")
    return {resource["name"].rpartition("/")[2] for resource in found}


def wrong_rights(deployment: Deployment) -> set[tuple[str, str, str]]:
    """Rights that somebody has and does not need, or needs and does not have."""
    granted = [_right(assignment) for assignment in deployment.of_type("Microsoft.Authorization/roleAssignments")]
    twice = {right for right, count in Counter(granted).items() if count > 1}
    return (set(granted) ^ RIGHTS.keys()) | twice


def _right(assignment: dict[str, Any]) -> tuple[str, str, str]:
    properties = assignment["properties"]
    who = APP if "userAssignedIdentities" in properties["principalId"] else OPERATOR
    role = properties["roleDefinitionId"].rpartition("/")[2]
    scope = re.search(
        r"^\W*(?:extensionResourceId\W+)?subscriptions/[^/]+/resourceGroups/[^/]+/providers/([^/]+/\w+)/",
        assignment["id"],
    )
    return who, scope[1] if scope else "everything", ROLES.get(role, role)


def secrets_told(deployment: Deployment) -> Iterator[str]:
    """Settings and outputs that hold a secret, or something that gives one away."""
    for name, value in {**deployment.settings, **deployment.outputs}.items():
        if A_SECRET.search(str(value)):
            yield name


def unwatched_alarms(deployment: Deployment) -> set[str]:
    """Alarms of the code that no rule looks for."""
    queries = list(rule_queries(deployment).values())
    return {name for name in alarms() if not any(f'startswith "event={name} "' in query for query in queries)}


def alarms() -> set[str]:
    """The events at which a person has to look."""
    return {event.value for event in ALARMS}


@dataclass(frozen=True)
class Alert:
    """What a rule on logs looks for, by one of its queries."""

    query: str
    window: str
    title: str
    about: tuple[str, ...]
    runbook: str
    rule: dict[str, Any]
    """The rule's properties."""


def alerts_on_logs(deployment: Deployment) -> dict[str, Alert]:
    """What the rules on logs look for, by name."""
    found: dict[str, Alert] = {}
    for rule in deployment.of_type("Microsoft.Insights/scheduledQueryRules"):
        whole = rule["properties"]["criteria"]["allOf"][0]["query"]
        for name, window, title, about, runbook in _FINDING.findall(whole):
            before, _, after = whole.partition(f"let {name} =\n")
            last, _, whole = after.partition("\n;\n")
            columns = tuple(re.findall(r'"(\w+) ", \1\b', about))
            assert name not in found, f"{name} is looked for twice"
            found[name] = Alert(f"{before}{last}\n", window, title, columns, runbook, rule["properties"])
        assert whole.startswith("union "), "nothing comes of a query"
    return found


_FINDING: Final = re.compile(
    r"\((\w+) \| where TimeGenerated > ago\((\w+)\) \| project TimeGenerated, "
    r'alarm = "\1", title = "([^"]+)", about = (.+), runbook = "([^"]+)"\)'
)


def rule_queries(deployment: Deployment) -> dict[str, str]:
    """The query of each alert on logs, by its name."""
    return {name: alert.query for name, alert in alerts_on_logs(deployment).items()}


def workbook_queries(deployment: Deployment) -> dict[str, str]:
    """The queries of the workbook, by their titles."""
    content = json.loads(deployment.the("Microsoft.Insights/workbooks")["properties"]["serializedData"])
    return {item["content"]["title"]: item["content"]["query"] for item in content["items"] if item["type"] == 3}


def unknown_words(query: str) -> set[str]:
    """Events, fields and functions that a query names and the code does not know."""
    named = set(re.findall(r'event=(\w+) "', query)) | set(re.findall(r'\bevent == "(\w+)"', query))
    family = set(re.findall(r'startswith "event=(\w+)"', query))
    possible = {name for name in code.events() if name in named or any(name.startswith(one) for one in family)}
    fields = {field for name in possible for field in code.events()[name]}
    used = set(re.findall(r"\bfields\.(\w+)", query)) | set(re.findall(r'\bfields\["(\w+)"\]', query))
    run = set(re.findall(r'OperationName == "(\w+)"', query))
    empty = {f"event={one}…" for one in family if not any(name.startswith(one) for name in code.events())}
    return (named - code.events().keys()) | (used - fields) | (run - code.functions()) | empty


def badly_named(deployment: Deployment) -> set[str]:
    """Resources whose name Azure would refuse."""
    return {
        f"{resource['type']} {resource['name']}"
        for resource in deployment.resources
        if (rule := NAMES.get(resource["type"])) and not re.fullmatch(rule, resource["name"], re.ASCII)
    }
