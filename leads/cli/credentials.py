"""What the deployed app asks for: the key of a function, an access token, or both."""

import os
import sys
from getpass import getpass
from typing import Protocol

from leads.cli.environment import KEY_VARIABLE, TOKEN_VARIABLE
from leads.platform.settings import SettingsError


class Credentials(Protocol):
    """Where key and token come from."""

    @property
    def has_only_a_token(self) -> bool:
        """Whether whoever asks has signed in, and has no key."""

    @property
    def is_at_hand(self) -> bool:
        """Whether the credentials are known without asking a person or another program."""

    def key(self, function: str) -> str:
        """The key of a function. Raises `SettingsError` or `OutOfReach`."""

    def token(self) -> str:
        """The access token, "" for none. Raises `OutOfReach`."""


class FromEnvironment:
    """The key and the token that environment variables hold; a key that is missing is asked for at a terminal."""

    @property
    def has_only_a_token(self) -> bool:
        return bool(self.token()) and not os.environ.get(KEY_VARIABLE, "").strip()

    @property
    def is_at_hand(self) -> bool:
        return bool(self.token() or os.environ.get(KEY_VARIABLE, "").strip())

    def key(self, function: str) -> str:
        return read_key(function)

    def token(self) -> str:
        return os.environ.get(TOKEN_VARIABLE, "").strip()


def read_key(function: str) -> str:
    """A function's key: from the environment, or asked for and not shown. Others could read an argument."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
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
