"""The machine's network: the addresses of token services, and whether a proxy is configured."""

import os
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


def network_is_described() -> bool:
    """Whether the environment configures a proxy or certificates for `requests`.

    By default `requests` checks this with each request, which takes a sixteenth of a storage request's time.
    """
    from urllib.request import getproxies

    proxies = getproxies().keys() - {"no"}
    return bool(proxies) or not os.environ.keys().isdisjoint({"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"})


def identity_addresses() -> list[str]:
    """The addresses of token services: those in the environment, and azure-identity's defaults.

    The defaults are Entra ID and the endpoint of a virtual machine (Microsoft Learn, "How to use managed identities for App
    Service and Azure Functions", section "REST endpoint reference"; "Azure Instance Metadata Service").
    """
    named = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "AZURE_AUTHORITY_HOST")
    found = [os.environ[name] for name in named if os.environ.get(name)]
    usual = ["https://login.microsoftonline.com", "http://169.254.169.254"]
    return usual + [address if "://" in address else f"https://{address}" for address in found]
