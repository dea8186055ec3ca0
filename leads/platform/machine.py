"""What the machine that the app runs on says of its network: where tokens come from, and whether a proxy is named."""

import os
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


def network_is_described() -> bool:
    """Whether a proxy or certificates are named, in the way that `requests` knows. It looks for them anew with each request
    unless it is told not to, which takes a sixteenth of a storage request's time."""
    from urllib.request import getproxies

    proxies = getproxies().keys() - {"no"}
    return bool(proxies) or not os.environ.keys().isdisjoint({"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"})


def identity_addresses() -> list[str]:
    """Where the platform or the machine says that tokens come from, and where azure-identity asks without being told: Entra ID,
    and the endpoint that a virtual machine has (Microsoft Learn, "How to use managed identities for App Service and Azure
    Functions", section "REST endpoint reference"; "Azure Instance Metadata Service")."""
    named = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "AZURE_AUTHORITY_HOST")
    found = [os.environ[name] for name in named if os.environ.get(name)]
    usual = ["https://login.microsoftonline.com", "http://169.254.169.254"]
    return usual + [address if "://" in address else f"https://{address}" for address in found]
