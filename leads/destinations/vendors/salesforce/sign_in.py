"""Tokens of an organisation: by client credentials, or by a JWT that the app signs with a private key.

Sources: Salesforce Help, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration" and "OAuth 2.0 JWT Bearer Flow for
Server-to-Server Integration".
"""

from datetime import timedelta
from typing import Final

from leads.core import clock
from leads.core.outcomes import Misconfigured, Retry
from leads.destinations.base import Context
from leads.destinations.http import HttpClient
from leads.destinations.tokens import NoToken, Token, request_token, token_in
from leads.destinations.vendor_errors import UNREADABLE
from leads.destinations.vendors.salesforce.errors import no_token
from leads.destinations.vendors.salesforce.settings import SalesforceSettings

TOKEN_PATH: Final = "/services/oauth2/token"  # noqa: S105 - an address
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME: Final = 2 * 3600
"""Seconds. Salesforce does not send a token's lifetime. The default length of a session is two hours."""
_SIGNED_FOR: Final = timedelta(minutes=3)
"""How long a signed JWT is valid. Salesforce accepts at most three minutes."""


def fetch_token(settings: SalesforceSettings, context: Context, http: HttpClient) -> Token:
    """A token of the external client app. Raises `NoToken`, `NoAnswer`, `SettingsError`."""
    answer = request_token(http, settings.url + TOKEN_PATH, _grant(settings, context))
    if answer.status != 200:
        raise NoToken(no_token(answer))
    token = token_in(answer, _LIFETIME)
    if token is None:
        raise NoToken(Retry(UNREADABLE.code))
    return token


def _grant(settings: SalesforceSettings, context: Context) -> dict[str, str]:
    if settings.client_secret is not None:
        return {
            "grant_type": "client_credentials",
            "client_id": settings.client_id,
            "client_secret": context.secrets.read(settings.client_secret),
        }
    assert settings.private_key is not None  # noqa: S101
    # A key that was pasted into an app setting may have each line end as the two characters \n.
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
        words = "private_key does not hold an RSA key: store the whole PEM text there, from BEGIN to END."
        raise NoToken(Misconfigured(words, "private_key")) from None
