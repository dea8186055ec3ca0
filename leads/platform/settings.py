"""The app's settings: its environment variables, typed and checked, and references to secrets."""

import os
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from leads.core.problems import first_problem
from leads.platform.machine import Network, identity_addresses
from leads.platform.once import once
from leads.platform.storage_accounts import is_of_another_account

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

CONNECTION_STRING = re.compile(r"[A-Za-z]+=[!-:<-~]+(?:;[A-Za-z]+=[!-:<-~]+)*;?")
"""A storage connection string: pairs of name and value, printable ASCII, no blanks."""
_SIGNATURE = re.compile(r"(?:^|[?&])sig=[^&]")
"""Microsoft Learn, "Create an account SAS", section "Construct the account SAS URI": `sig` is required."""
_ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}")
"""Microsoft Learn, "Storage account overview", section "Storage account name"."""
_PARTS = {
    "accountname": re.compile(r"[a-z0-9-]+", re.IGNORECASE),
    "defaultendpointsprotocol": re.compile(r"https?", re.IGNORECASE),
    "endpointsuffix": re.compile(r"[a-z0-9.-]+", re.IGNORECASE),
}
"""The parts of a connection string from which the SDK builds addresses (Microsoft Learn, "Configure Azure Storage connection
strings"). An emulator's account can have any name."""
_SETTING_NAME = re.compile(r"[A-Za-z0-9_.]+")
_REFERENCE = re.compile(r"env:[A-Za-z0-9_.]+|keyvault:[A-Za-z0-9-]{1,127}")
"""Microsoft Learn, "Configure an App Service app", section "Configure app settings", and "Azure Key Vault keys, secrets and
certificates overview", section "Object identifiers"."""
_HTTPS_ADDRESS = re.compile(r"https://[a-z0-9.-]+(?::[0-9]+)?(?:/[!-~]*)?", re.IGNORECASE | re.ASCII)
_HOST_NAME = re.compile(r"[a-z0-9.-]+(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
# The SDK's own limits are minutes. A sender may be waiting, and a client asks for a token twice.
_TOKEN_LIMITS: Final = {
    "connection_timeout": 1,
    "read_timeout": 2,
    "retry_total": 1,
    "retry_connect": 0,
    "retry_read": 0,
}
_LOGIN_LIMITS: Final = {"connection_timeout": 3, "read_timeout": 10, "retry_total": 1}


COMMAND_LINES: Final = "LEADS_APP_"
"""Prefix of the command line's own variables."""
OFFERS_SECRETS: Final = "LEADS_SECRET_"
"""Prefix of the app settings that every offer may use as secrets."""


FETCHED_BESIDE: Final = 16
"""`newBatchThreshold` in host.json: the host fetches more messages while an instance holds at most this many."""


class SettingsError(Exception):
    """A setting is missing or wrong. The text names the setting and the fix, and never holds its value."""


def _check_connection_string(text: str) -> str:
    text = text.strip()
    parts = [part.partition("=") for part in text.rstrip(";").split(";")]
    values = {name.lower(): value for name, _, value in parts}
    names = values.keys()
    if names == {"usedevelopmentstorage"}:
        return "UseDevelopmentStorage=true"  # the spelling that both SDKs accept
    addressed = "accountname" in names or {"queueendpoint", "tableendpoint"} <= names
    signed = bool(_SIGNATURE.search(values.get("sharedaccesssignature", "")))
    complete = {"accountname", "accountkey"} <= names or (signed and addressed)
    sound = all(pattern.fullmatch(values[name]) for name, pattern in _PARTS.items() if name in names)
    if text and not (complete and sound and len(names) == len(parts) and CONNECTION_STRING.fullmatch(text)):
        raise ValueError("is not a storage connection string: copy the whole string, or set UseDevelopmentStorage=true")
    return text


def _check_account_name(text: str) -> str:
    if text.strip() and not _ACCOUNT_NAME.fullmatch(text.strip()):
        raise ValueError("must be a storage account's name alone: 3 to 24 lower-case letters and digits")
    return text.strip()


def _check_credential(text: str) -> str:
    if text.strip().lower() not in {"", "managedidentity"}:
        raise ValueError("must be managedidentity, or left out to use the machine's Azure login")
    return text.strip().lower()


def _check_address(text: str) -> str:
    if text.strip() and not _HTTPS_ADDRESS.fullmatch(text.strip()):
        raise ValueError("must be an address that begins with https://")
    return text.strip()


def _check_service_address(text: str, info: ValidationInfo) -> str:
    """Refuse another account's address: the host uses the account's name, if set, and the app the address.

    Source: azure-functions-host issue 10401.
    """
    address, account = _check_address(text), info.data.get("storage_account_name", "")
    if account and is_of_another_account(address, account):
        raise ValueError(
            "is of another account than LeadsStorage__accountName: the host would read one account's queue, and the app would "
            "write to the other's; remove LeadsStorage__accountName, or correct the wrong setting"
        )
    return address


def _read_networks(text: object) -> object:
    """Networks in CIDR form, separated by commas or blanks."""
    if not isinstance(text, str):
        return text
    try:
        return tuple(ip_network(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise ValueError("must be networks such as 10.1.0.0/16, fd00:1::/64, separated by commas") from None


def _read_names(text: object) -> object:
    """Names of settings, separated by commas or blanks."""
    if not isinstance(text, str):
        return text
    names = text.replace(",", " ").split()
    if not all(_SETTING_NAME.fullmatch(name) for name in names):
        raise ValueError("must be names of app settings, separated by commas")
    return frozenset(names)


def _read_warm(text: object) -> object:
    """The parts with an instance that is always ready, as the deployment sets them. Unknown names are ignored."""
    if not isinstance(text, str):
        return text
    return frozenset(text.replace(",", " ").split()) & {"intake", "delivery"} if text.strip() else None


def _read_host_name(text: object) -> object:
    """The platform's host name. A malformed name is ignored, so that the app still accepts leads."""
    return text.lower() if isinstance(text, str) and _HOST_NAME.fullmatch(text) else ""


def _check_file(text: str) -> str:
    if text and not Path(text).is_file():
        raise ValueError("must be the path of a file with certificates (PEM)")
    return text


def _check_reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise ValueError(
            "must be a reference: env:NAME (an app setting: letters, digits, _ and .) or keyvault:NAME (a Key Vault secret: "
            "letters, digits and -)"
        )
    return text


def _read_flag(text: object) -> bool | None:
    """A flag that the platform sets. An unknown value gives None, so that the app still accepts leads."""
    return {"true": True, "1": True, "false": False, "0": False}.get(str(text).strip().lower())


_HttpsAddress = Annotated[str, AfterValidator(_check_address)]
_ServiceAddress = Annotated[str, AfterValidator(_check_service_address)]


class Settings(BaseModel):
    """The app's settings. The alias of each field is its environment variable.

    The Functions host reads the `LeadsStorage…` variables, too, for a trigger with `connection="LeadsStorage"` (Microsoft Learn,
    "Azure Queue storage trigger for Azure Functions", section "Connections").
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, ignored_types=(once,))

    storage_connection_string: Annotated[str, AfterValidator(_check_connection_string)] = Field(
        "", alias="LeadsStorage", repr=False
    )
    storage_account_name: Annotated[str, AfterValidator(_check_account_name)] = Field(
        "", alias="LeadsStorage__accountName"
    )
    storage_queue_uri: _ServiceAddress = Field("", alias="LeadsStorage__queueServiceUri")
    storage_table_uri: _ServiceAddress = Field("", alias="LeadsStorage__tableServiceUri")
    storage_blob_uri: _ServiceAddress = Field("", alias="LeadsStorage__blobServiceUri")
    """Accepted beside the others, but not used by the app or the queue's trigger."""
    storage_credential: Annotated[str, AfterValidator(_check_credential)] = Field("", alias="LeadsStorage__credential")
    storage_client_id: str = Field("", alias="LeadsStorage__clientId")
    key_vault_uri: _HttpsAddress = Field("", alias="LEADS_KEY_VAULT_URI")
    allowed_networks: Annotated[tuple[Network, ...], BeforeValidator(_read_networks)] = Field(
        (), alias="LEADS_ALLOWED_NETWORKS"
    )
    """Private networks that leads may go to, such as that of a private endpoint."""
    allowed_settings: Annotated[frozenset[str], BeforeValidator(_read_names)] = Field(
        frozenset(), alias="LEADS_ALLOWED_SETTINGS"
    )
    """App settings that `env:NAME` may read although their names don't begin with `LEADS_SECRET_`."""
    warm: Annotated[frozenset[str] | None, BeforeValidator(_read_warm)] = Field(None, alias="LEADS_WARM")
    """The parts with an instance that is always ready: `intake`, `delivery`. None if the deployment does not say."""
    ca_bundle: Annotated[str, AfterValidator(_check_file)] = Field("", alias="LEADS_CA_BUNDLE")
    """Path of the certificates to trust instead of the public ones, for endpoints in a private network."""
    notify_webhook: Annotated[str, AfterValidator(lambda text: text and _check_reference(text))] = Field(
        "", alias="LEADS_NOTIFY_WEBHOOK"
    )
    """Secret reference to the webhook address for alarms. The address is a secret."""
    personal_data_over_http: bool = Field(False, alias="LEADS_PERSONAL_DATA_OVER_HTTP")
    """Whether the management API returns personal data. Erasure over the API works in any case."""
    sign_in: Literal["", "entra"] = Field("", alias="LEADS_SIGN_IN")
    """`entra`: App Service authentication protects the app, and a signed-in user with an app role needs no key."""
    unrouted_retention_days: int = Field(180, alias="LEADS_RETENTION_DAYS", ge=0)
    """Days after which personal data of leads without an offer, and unreadable bodies, are removed. 0 = never."""
    thread_count: int = Field(
        default_factory=lambda: min(32, (os.cpu_count() or 1) + 4), alias="PYTHON_THREADPOOL_THREAD_COUNT", ge=1
    )
    """The worker's threads. The default is the worker's own default: Python's for a thread pool."""

    host_name: Annotated[str, BeforeValidator(_read_host_name)] = Field("", alias="WEBSITE_HOSTNAME")
    """The app's host name, set by the platform (Microsoft Learn, "Environment variables and app settings in Azure App Service").
    Core Tools add their port."""

    platform_signs_in: Annotated[bool | None, BeforeValidator(_read_flag)] = Field(None, alias="WEBSITE_AUTH_ENABLED")
    """Whether App Service authentication is on; None if the platform does not say (the same page)."""

    @property
    def believes_sign_in(self) -> bool:
        """Whether the app trusts the platform's header about the signed-in user."""
        return self.sign_in == "entra" and self.platform_signs_in is not False

    def allows_reading(self, name: str) -> bool:
        """Whether an offer's reference `env:NAME` may be read.

        Offers can be changed over HTTP, and can send a setting's value anywhere. Some settings are keys of the app or the
        platform. So an operator decides which settings offers may name.
        """
        return name.startswith(OFFERS_SECRETS) or name in self.allowed_settings or self.notify_webhook == f"env:{name}"

    @property
    def connection_slots(self) -> int:
        """How many concurrent sends one connection may have on an instance: half of the threads.

        With more than `FETCHED_BESIDE`, the host would fetch no messages for other connections.
        """
        return max(1, min(self.thread_count // 2, FETCHED_BESIDE))

    @property
    def slow_slots(self) -> int:
        """How many concurrent sends all slow connections together may have on an instance."""
        return max(1, self.connection_slots * 3 // 4)

    @property
    def queue_endpoint(self) -> str:
        return self.storage_queue_uri or self._account_endpoint("queue", "LeadsStorage__queueServiceUri")

    @property
    def table_endpoint(self) -> str:
        return self.storage_table_uri or self._account_endpoint("table", "LeadsStorage__tableServiceUri")

    def _account_endpoint(self, service: str, setting: str) -> str:
        if not self.storage_account_name:
            raise SettingsError(
                f"No storage is configured: set LeadsStorage to a connection string, or LeadsStorage__accountName "
                f"or {setting} to use the app's identity."
            )
        return f"https://{self.storage_account_name}.{service}.core.windows.net"

    @once
    def credential(self) -> "TokenCredential":
        """The identity for storage and Key Vault.

        With `LeadsStorage__credential=managedidentity`, it is the app's managed identity: the user-assigned one with the id
        `LeadsStorage__clientId`, if set. Otherwise it is the machine's Azure login, such as a person's at a shell.
        """
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

        from leads.platform.azure_transport import BoundedTransport

        limits = _TOKEN_LIMITS if self.storage_credential else _LOGIN_LIMITS
        transport = BoundedTransport(self.thread_count, limits)
        transport.trust(*identity_addresses())
        options: dict[str, Any] = {**limits, "transport": transport}
        if self.storage_credential:
            return ManagedIdentityCredential(client_id=self.storage_client_id or None, **options)
        return DefaultAzureCredential(**options)


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises `SettingsError`, which names the first wrong variable."""
    settings, problems = read_usable_settings(environ)
    if problems:
        raise SettingsError(problems[0])
    return settings


def read_usable_settings(environ: Mapping[str, str] = os.environ) -> tuple[Settings, list[str]]:
    """The settings that are right, and a line about each wrong one, without its value."""
    left, problems = dict(environ), list[str]()
    while True:
        known = {name: left[name] for field in Settings.model_fields.values() if (name := field.alias or "") in left}
        try:
            return Settings.model_validate(known), problems
        except ValidationError as error:
            problems.append(first_problem(error))
            del left[str(error.errors(include_input=False)[0]["loc"][0])]


def unread_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Variables with names like the app's settings that the app does not read: most likely misspelt."""
    known = {field.alias for field in Settings.model_fields.values()}
    named = (name for name in environ if name.lower().startswith(("leads_", "leadsstorage")))
    return sorted(name for name in named if name not in known and not name.startswith((COMMAND_LINES, OFFERS_SECRETS)))


_IS_SECRET: dict[str, Any] = {"format": "secret-reference", "pattern": f"^({_REFERENCE.pattern})$"}
"""Marks a secret reference in a JSON Schema."""

SecretReference = Annotated[
    str,
    AfterValidator(_check_reference),
    Field(
        description="Place of the secret: env:LEADS_SECRET_NAME (an app setting) or keyvault:NAME (a Key Vault secret).",
        json_schema_extra=_IS_SECRET,
    ),
]
"""A pydantic field type for a setting that names a secret and never holds one."""

OptionalSecret = Annotated[SecretReference | None, Field(json_schema_extra=_IS_SECRET)]
"""A `SecretReference` that may be left out. JSON Schema needs the mark at the field itself."""
