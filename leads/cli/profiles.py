"""Profiles: deployed apps by name, each with the source of its key.

They are in one file of the user's configuration, which other users can't read.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leads.cli.credentials import given_key, given_token, read_key
from leads.cli.environment import OutOfReach
from leads.platform.settings import SettingsError

AZ_SECONDS: Final = 60
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class KeyInAzure(BaseModel):
    """The function app whose key each command takes from the Azure CLI. The key is not saved."""

    model_config = ConfigDict(extra="forbid")
    group: str
    app: str


class Profile(BaseModel):
    """An app's address, and where its key and token come from: this profile, the Azure CLI, or otherwise the environment."""

    model_config = ConfigDict(extra="forbid")
    url: str
    key: str = Field(default="", repr=False)
    key_in_azure: KeyInAzure | None = None
    token_resource: str = ""

    @property
    def source(self) -> str:
        """Where the key comes from, in words."""
        found = self.key_in_azure
        parts = (
            "key: kept in the file of profiles" if self.key else "",
            f"key: az, {found.app} in {found.group}" if found else "",
            f"token: az, {self.token_resource}" if self.token_resource else "",
        )
        return ", ".join(filter(None, parts)) or "key: of the environment"

    @property
    def uses_environment(self) -> bool:
        """Whether key and token come from the environment. A profile with another source ignores the environment."""
        return not (self.key or self.key_in_azure or self.token_resource)

    @property
    def has_only_a_token(self) -> bool:
        """Whether there is a token and no key: the user signs in with Entra ID."""
        if self.uses_environment:
            return bool(given_token()) and not given_key()
        return not (self.key or self.key_in_azure)

    @property
    def is_at_hand(self) -> bool:
        """Whether key and token are known without asking a person or the Azure CLI."""
        if self.uses_environment:
            return bool(given_token() or given_key())
        return not (self.key_in_azure or self.token_resource)

    def key_of(self, function: str) -> str:
        """The key of a function, "" if a token takes its place. Raises `SettingsError` or `OutOfReach`."""
        if self.uses_environment:
            return read_key(function)
        if self.key or not self.key_in_azure:
            return self.key
        app = ("-g", self.key_in_azure.group, "-n", self.key_in_azure.app, "--function-name", function)
        return _az("functionapp", "function", "keys", "list", *app, "--query", "default", "-o", "tsv")

    def token(self) -> str:
        """The access token, "" if there is none. Raises `OutOfReach`."""
        if self.uses_environment:
            return given_token()
        resource = self.token_resource
        if not resource:
            return ""
        return _az("account", "get-access-token", "--resource", resource, "--query", "accessToken", "-o", "tsv")


class Profiles(BaseModel):
    """All profiles by name. `current`: the profile for commands without --app and LeadsStorage, "" for none."""

    model_config = ConfigDict(extra="forbid")
    current: str = ""
    apps: dict[Annotated[str, Field(pattern=f"^{NAME.pattern}$")], Profile] = {}

    def named(self, name: str) -> Profile:
        """The profile of this name. Raises `SettingsError`, which lists the known names."""
        if name not in self.apps:
            known = f"known: {', '.join(sorted(self.apps))}" if self.apps else "no profile exists yet"
            raise SettingsError(f"profile: none is called {name} ({known}); leads login saves one")
        return self.apps[name]


def file_of_profiles() -> Path:
    return Path(typer.get_app_dir("marketplace-leads")) / "apps.json"


def read_profiles() -> Profiles:
    """The profiles in the file. Raises `SettingsError` if the file is unusable, or if other users can read it."""
    file = file_of_profiles()
    try:
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise SettingsError(f"{file}: other users can read this file, which may hold keys: chmod 600 {file}")
        return Profiles.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Profiles()
    except OSError as error:
        raise SettingsError(f"{file}: can't be read ({error.strerror})") from None
    except ValidationError:
        raise SettingsError(f"{file}: was not written by leads login; remove the file and log in again") from None


def write_profiles(profiles: Profiles) -> None:
    """Replace the file, with the mode 0600. Raises `SettingsError`."""
    file = file_of_profiles()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)  # its mode is 0600
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            written.write(profiles.model_dump_json(indent=2, exclude_defaults=True))
        Path(name).replace(file)
    except OSError as error:
        raise SettingsError(f"{file}: can't be written ({error.strerror})") from None


def _az(*words: str) -> str:
    """The output of the Azure CLI (Microsoft Learn, "az functionapp function keys" and "az account"). Raises `OutOfReach`."""
    program = shutil.which("az")
    if program is None:
        raise OutOfReach(
            "az: this profile gets its key from the Azure CLI, which is not installed; install it, or log in again"
        )
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=AZ_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise OutOfReach(f"az: does not answer ({type(error).__name__}); try: az account show") from None
    if done.returncode or not done.stdout.strip():
        why = next((line for line in done.stderr.splitlines() if line.strip()), "it prints nothing")
        raise OutOfReach(f"az: {' '.join(words[:4])} has failed: {why}")
    return done.stdout.strip()
