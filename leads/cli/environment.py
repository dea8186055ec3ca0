"""How the command line reaches a deployed app: the environment variables, and why it can't."""

from typing import Final

APP_VARIABLES: Final = ("LEADS_APP", "LEADS_APP_URL")
KEY_VARIABLE: Final = "LEADS_APP_KEY"
TOKEN_VARIABLE: Final = "LEADS_APP_TOKEN"  # noqa: S105


class OutOfReach(Exception):
    """The deployed app can't be asked. The text says why in one line, and what to do."""
