"""People and programs that App Service authentication signed in with Entra ID: their ids and their levels.

The platform sets the header `X-MS-CLIENT-PRINCIPAL` and lets no outside request set it (Microsoft Learn, "Work with user
identities in Azure App Service authentication"). If its authentication is off, anybody can set the header. So the app trusts
the header only if a setting of the deployment says that authentication is on. The platform passes on requests without a login,
and this app refuses them (Microsoft Learn, "Authentication and authorization in Azure App Service and Azure Functions",
section "Authorization behavior", "Allow unauthenticated requests").
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlsplit

from leads.operations.access import SIGNED_IN, AccessLevel, Caller, base_of, role_of
from leads.operations.problems import Forbidden, Problem
from leads.platform.settings import Settings

REQUESTED_WITH_HEADER: Final = "x-requested-with"
REQUESTED_WITH: Final = "marketplace-leads"
_PRINCIPAL: Final = "x-ms-client-principal"
_PROVIDER: Final = "aad"
LOGIN: Final = f"/.auth/login/{_PROVIDER}"
"""The address at which a browser signs in."""
_ROLES: Final = {role_of(level): level for level in AccessLevel}
_ROLE_CLAIMS: Final = frozenset({"roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"})
_ID_CLAIMS: Final = frozenset({"oid", "http://schemas.microsoft.com/identity/claims/objectidentifier"})
"""The names in the token, and the names that App Service maps them to (same page, "Decode the client principal header")."""
_OBJECT_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class NotSignedIn(Problem):
    """The caller is not signed in, or lacks the needed role. `may_help`: a login may help."""

    status = 401
    title = "Not signed in"

    def __init__(self, text: str, *, may_help: bool) -> None:
        super().__init__(text)
        self.may_help = may_help


def signed_in_caller(headers: Mapping[str, str], settings: Settings) -> Caller:
    """The signed-in caller, with the highest level of their roles. `headers`: names in lower case. Raises `NotSignedIn`."""
    object_id, levels = _principal(headers, settings)
    if not levels:
        *others, last = _ROLES
        raise NotSignedIn(
            f"Sign in with Entra ID as a user with the app role {', '.join(others)} or {last}. The app must be deployed "
            "with sign-in.",
            may_help=settings.believes_sign_in and _PRINCIPAL not in headers,
        )
    return Caller(max(levels, key=[*AccessLevel].index), "entra", object_id, base_of(SIGNED_IN))


def behind_login(caller: Caller, headers: Mapping[str, str], settings: Settings) -> Caller:
    """The caller with a key. If the app requires sign-in, the caller must also be signed in. Raises `NotSignedIn`."""
    if not settings.sign_in:
        return caller
    object_id, _ = _principal(headers, settings)
    if not object_id:
        raise NotSignedIn("Sign in with Entra ID: this app requires a login as well as the key.", may_help=False)
    return replace(caller, who=object_id)


def require_own_page(method: str, headers: Mapping[str, str], host_name: str) -> None:
    """Refuse a change that a page of another site requests with the browser of a signed-in user. Raises `Forbidden`.

    A browser sends its session with the requests of any page. It names the page's site in `Sec-Fetch-Site` and `Origin`, which
    no page can change (W3C, "Fetch Metadata Request Headers"; WHATWG, "Fetch", section "Origin header"). Programs send
    neither. No form can send the header `X-Requested-With`, and pages of other sites need permission to send it.
    """
    if method == "GET":
        return
    if headers.get(REQUESTED_WITH_HEADER, "").strip() != REQUESTED_WITH:
        raise Forbidden(f"A change needs the header X-Requested-With with the value {REQUESTED_WITH}.")
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    own = {host_name.lower(), headers.get("host", "").lower()} - {""}
    if (site is not None and site.strip() != "same-origin") or (origin is not None and _host(origin) not in own):
        raise Forbidden("Only the app's own pages can request a change, and not the pages of another site.")


def is_navigation(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a person opened the address in a browser (W3C, "Fetch Metadata Request Headers")."""
    return method == "GET" and headers.get("sec-fetch-mode") == "navigate"


def is_page(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a page in a browser sent the request (same source)."""
    return method == "GET" and headers.get("sec-fetch-mode") in {"cors", "same-origin"}


def login_address(path: str) -> str:
    """The address at which a browser signs in and returns to `path` (Microsoft Learn, "Customize sign-in and sign-out in Azure
    App Service authentication")."""
    return f"{LOGIN}?post_login_redirect_uri={quote(path, safe='')}"


def _host(origin: str) -> str:
    try:
        return urlsplit(origin.strip()).netloc.lower()
    except ValueError:
        return ""


def _principal(headers: Mapping[str, str], settings: Settings) -> tuple[str, list[AccessLevel]]:
    """The object id of the principal that the platform signed in, "" for nobody, and the levels of its app roles."""
    if not settings.believes_sign_in:
        return "", []
    claims = list(_claims(headers.get(_PRINCIPAL, "")))
    ids = {value.lower() for name, value in claims if name in _ID_CLAIMS and _OBJECT_ID.fullmatch(value.lower())}
    if len(ids) != 1:
        return "", []
    return ids.pop(), [_ROLES[value] for name, value in claims if name in _ROLE_CLAIMS and value in _ROLES]


def _claims(header: str) -> Iterator[tuple[str, str]]:
    """The claims, name and value, of a principal of Entra ID. Yields nothing for any other header."""
    try:
        principal: Any = json.loads(b64decode(header, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return
    if not isinstance(principal, dict) or principal.get("auth_typ") != _PROVIDER:
        return
    claims = principal.get("claims")
    for claim in claims if isinstance(claims, list) else ():
        if isinstance(claim, dict):
            name, value = claim.get("typ"), claim.get("val")
            if isinstance(name, str) and isinstance(value, str):
                yield name, value
