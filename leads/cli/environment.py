"""The environment variables by which the command line reaches a deployed app."""

from typing import Final

APP_VARIABLE: Final = "LEADS_APP_URL"
KEY_VARIABLE: Final = "LEADS_APP_KEY"
TOKEN_VARIABLE: Final = "LEADS_APP_TOKEN"  # noqa: S105
