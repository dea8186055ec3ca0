"""Tokens of an organisation: by client credentials, or by a JWT that is signed with a private key.

Sources: Salesforce Help, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration" and "OAuth 2.0 JWT Bearer Flow for
Server-to-Server Integration".
"""

from datetime import timedelta
from typing import Final

from leads.core import clock
from leads.core.outcomes import Misconfigured, Retry
from leads.destinations.base import Context
from leads.destinations.http import HttpClient
from leads.destinations.tokens import NoToken, Token, TokenSource, post_form
from leads.destinations.vendor_errors import UNREADABLE
from leads.destinations.vendors.salesforce.errors import no_token
from leads.destinations.vendors.salesforce.settings import SalesforceSettings

TOKEN_PATH: Final = "/services/oauth2/token"  # noqa: S105 - an address
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
KEPT: Final = timedelta(hours=2)
"""An answer does not say how long a token is good for: as long as a session is by default. One that ends earlier is renewed once
it is refused."""
_SIGNED_FOR: Final = timedelta(minutes=3)
"""Salesforce takes no more."""


def token_source(settings: SalesforceSettings, context: Context, http: HttpClient) -> TokenSource:
    """The token source of a credential, one for all destinations that use it."""
    secret = settings.client_secret or f"{settings.username}\n{settings.private_key}\n{settings.audience}"
    key = ("token", settings.base_url, settings.client_id, secret)
    return context.shared(key, lambda: TokenSource(lambda: _fetch(settings, context, http)))


def _fetch(settings: SalesforceSettings, context: Context, http: HttpClient) -> Token:
    answer = post_form(http, settings.base_url + TOKEN_PATH, _grant(settings, context))
    if answer.status != 200:
        raise NoToken(no_token(answer))
    body = answer.json()
    token = body.get("access_token") if isinstance(body, dict) else None
    if not isinstance(token, str) or not token.isascii():
        raise NoToken(Retry(UNREADABLE.code))
    return Token(token, clock.now() + KEPT)


def _grant(settings: SalesforceSettings, context: Context) -> dict[str, str]:
    if settings.client_secret is not None:
        return {
            "grant_type": "client_credentials",
            "client_id": settings.client_id,
            "client_secret": context.secrets.read(settings.client_secret),
        }
    assert settings.private_key is not None  # noqa: S101
    # A key that was pasted into an app setting has lost its line ends, or keeps them as two characters each.
    key = context.secrets.read(settings.private_key).replace("\\n", "\n")
    return {"grant_type": JWT_BEARER, "assertion": _assertion(settings, key)}


def _assertion(settings: SalesforceSettings, key: str) -> str:
    import jwt

    claims = {
        "iss": settings.client_id,
        "sub": settings.username,
        "aud": settings.audience,
        "exp": int((clock.now() + _SIGNED_FOR).timestamp()),
    }
    try:
        return jwt.encode(claims, key, algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError):
        words = "private_key is no RSA key: store the whole PEM text, from BEGIN to END, where it points."
        raise NoToken(Misconfigured(words, "private_key")) from None
