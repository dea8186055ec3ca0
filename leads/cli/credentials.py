"""The key and the access token for the deployed app, as the environment or a person at the terminal gives them."""

import os
import sys
from getpass import getpass

from leads.cli.environment import KEY_VARIABLE, TOKEN_VARIABLE
from leads.platform.settings import SettingsError


def given_key() -> str:
    """The key in the environment, "" if there is none."""
    return os.environ.get(KEY_VARIABLE, "").strip()


def given_token() -> str:
    """The access token in the environment, "" if there is none."""
    return os.environ.get(TOKEN_VARIABLE, "").strip()


def read_key(function: str) -> str:
    """The key of a function, from the environment or typed unseen at the terminal. Raises `SettingsError`.

    A key is never an argument, because other users of the machine can read arguments.
    """
    key = given_key()
    if not key and sys.stdin.isatty():
        key = getpass(f"Key of the function {function}: ").strip()
    if not key:
        raise SettingsError(
            f"{KEY_VARIABLE}: set it to the key of the function {function} ({where_keys_are(function)})"
        )
    return key


def where_keys_are(function: str) -> str:
    """The command that shows a function's key."""
    return f"az functionapp function keys list -g GROUP -n APP --function-name {function}"
