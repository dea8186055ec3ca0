"""Reads secrets by their references: app settings and Key Vault. Key Vault's answers are cached."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from leads.platform.cached_value import CachedValue, fresh_for
from leads.platform.libraries import build_models, is_unanswered
from leads.platform.once import once
from leads.platform.settings import OFFERS_SECRETS, Settings, SettingsError

if TYPE_CHECKING:
    from azure.keyvault.secrets import SecretClient

KEY_VAULT_CACHE_SECONDS: Final = 300
_KEY_VAULT_LIMITS: Final = {"connection_timeout": 3, "read_timeout": 5, "retry_total": 1, "retry_backoff_factor": 0.2}


class SecretOutOfReach(SettingsError):
    """Key Vault or the identity's token endpoint did not answer. The settings may be right."""


class SettingNotAllowed(SettingsError):
    """A reference names an app setting that offers must not use."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"env:{name} is not read: only app settings that begin with {OFFERS_SECRETS}, or that LEADS_ALLOWED_SETTINGS lists. "
            f"Keep the secret in such a setting, or list {name}."
        )


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """A Key Vault secret, and its expiry date in Key Vault, if set."""

    value: str
    expires_at: datetime | None


_SIGNED_UNTIL: Final = re.compile(r"(?:^|[?&;=])se=([0-9]{4}[0-9TZ:%A-Fa-f-]+)")
"""When a shared access signature ends (Microsoft Learn, "Create a service SAS")."""


class Secrets:
    """Reads secrets by their references.

    Key Vault's answers are cached for `KEY_VAULT_CACHE_SECONDS`, and for twice as long while Key Vault does not answer.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        self._kept: dict[str, CachedValue[KeptSecret]] = {}

    def read(self, reference: str) -> str:
        """The secret behind `env:NAME` or `keyvault:NAME`.

        Raises `SettingsError` if the secret is missing or must not be read, `SecretOutOfReach` if Key Vault does not answer.
        """
        kind, _, name = reference.partition(":")
        if kind == "env":
            if not self._settings.allows_reading(name):
                raise SettingNotAllowed(name)
            value = self._environ.get(name, "")
            if not value:
                raise SettingsError(
                    f"The app setting {name} is missing or empty; the secret reference {reference} needs it."
                )
            return value
        return self._in_key_vault(name).value

    def expiries(self, reference: str) -> list[datetime]:
        """When the secret expires, by Key Vault and by the secret's own text. Raises `SettingsError` if it is missing."""
        found = [signed_until(self.read(reference))]
        kind, _, name = reference.partition(":")
        if kind == "keyvault":
            found.append(self._in_key_vault(name).expires_at)
        return [moment for moment in found if moment is not None]

    def forget(self) -> None:
        """Read each Key Vault secret again at its next use. Called after a vendor refused a credential."""
        self._kept.clear()

    def _in_key_vault(self, name: str) -> KeptSecret:
        def too_late() -> SettingsError:
            return SecretOutOfReach(f"Key Vault did not give the secret {name} in time.")

        kept = self._kept.setdefault(name, CachedValue(fresh_for(KEY_VAULT_CACHE_SECONDS), too_late))
        return kept.get(lambda: self._read_key_vault(name))

    @once
    def _key_vault(self) -> "SecretClient":
        from azure.keyvault.secrets import SecretClient
        from azure.keyvault.secrets._generated import models

        from leads.platform.azure_transport import BoundedTransport

        build_models(models)
        transport = BoundedTransport(self._settings.thread_count, _KEY_VAULT_LIMITS)
        uri, credential = self._settings.key_vault_uri, self._settings.credential
        transport.trust(uri)
        return SecretClient(uri, credential, transport=transport, **_KEY_VAULT_LIMITS)

    def _read_key_vault(self, name: str) -> KeptSecret:
        if not self._settings.key_vault_uri:
            raise SettingsError(
                f"keyvault:{name} needs the app setting LEADS_KEY_VAULT_URI (https://NAME.vault.azure.net)."
            )
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        try:
            secret = self._key_vault.get_secret(name)
        except ResourceNotFoundError:
            raise SettingsError(f"Key Vault has no secret named {name}.") from None
        except (AzureError, ValueError) as error:  # ValueError: the address is not a Key Vault's
            kind = SecretOutOfReach if is_unanswered(error) else SettingsError
            raise kind(f"Key Vault did not give the secret {name} ({type(error).__name__}).") from None
        if not secret.value:
            raise SettingsError(f"The Key Vault secret {name} is empty; the secret reference keyvault:{name} needs it.")
        return KeptSecret(secret.value, secret.properties.expires_on)


def signed_until(secret: str) -> datetime | None:
    """When the shared access signature in a secret expires; None without one. A time without a zone is UTC."""
    found = _SIGNED_UNTIL.search(secret)
    if not found:
        return None
    try:
        moment = datetime.fromisoformat(unquote(found[1]))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
