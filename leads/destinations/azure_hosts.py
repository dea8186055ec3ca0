"""Recognises Azure's own table hosts. Only these may receive the token of the app's identity, which opens all leads."""

import re
from typing import Final

_TABLE_DOMAINS: Final = (
    "table.core.windows.net",
    "table.storage.azure.net",
    "table.core.usgovcloudapi.net",
    "table.core.chinacloudapi.cn",
    "table.core.sovcloud-api.fr",
    "table.core.sovcloud-api.de",
    "table.core.sovcloud-api.sg",
    "table.core.eaglex.ic.gov",
    "table.core.microsoft.scloud",
)
"""The domains of storage accounts' tables in each cloud.

Sources: Microsoft Learn, "Azure Private Endpoint private DNS zone values" (the public cloud, US Government, China) and "Storage
account overview", section "Storage account endpoints" (accounts with a DNS zone, such as `z12`); for the national clouds
`cloudTypeFromHost` of Microsoft's AzCopy."""
_LABEL: Final = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_ADDRESS: Final = re.compile(
    rf"https://{_LABEL}(?:\.z[0-9]{{2}})?(?:\.privatelink)?\.(?:{'|'.join(map(re.escape, _TABLE_DOMAINS))})(?::443)?/?",
    re.IGNORECASE | re.ASCII,
)


def is_azure_table_address(address: str) -> bool:
    """Whether the text is the address of a storage account's tables in Azure, also by a private endpoint."""
    return bool(_ADDRESS.fullmatch(address))
