"""The environment variables that name a deployed app, and the error of an app that can't be reached."""

from typing import Final

APP_VARIABLES: Final = ("LEADS_APP", "LEADS_APP_URL")
KEY_VARIABLE: Final = "LEADS_APP_KEY"
TOKEN_VARIABLE: Final = "LEADS_APP_TOKEN"  # noqa: S105


class OutOfReach(Exception):
    """The deployed app can't be reached. The text is one line that says why and what to do."""
