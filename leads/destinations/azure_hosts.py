"""Which hosts are Azure's own: the token of the app's identity, which opens every lead, may be sent to no other."""

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
"""Below which each cloud has the tables of its accounts. Microsoft Learn, "Azure Private Endpoint private DNS zone values" (the
public cloud, US Government, China) and "Storage account overview", section "Storage account endpoints" (accounts with a DNS zone,
such as `z12`); the national clouds by `cloudTypeFromHost` of Microsoft's AzCopy."""
_LABEL: Final = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_ADDRESS: Final = re.compile(
    rf"https://{_LABEL}(?:\.z[0-9]{{2}})?(?:\.privatelink)?\.(?:{'|'.join(map(re.escape, _TABLE_DOMAINS))})(?::443)?/?",
    re.IGNORECASE | re.ASCII,
)


def is_azure_table_address(address: str) -> bool:
    """Whether it is the address of an account's tables in Azure and no more, also that of a private endpoint."""
    return bool(_ADDRESS.fullmatch(address))
