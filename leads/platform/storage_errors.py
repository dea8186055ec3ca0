"""Describes a failed call to the app's storage and its remedy, without addresses and keys."""

from dataclasses import dataclass
from typing import Final

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

from leads.platform.storage import StorageError

ROLES: Final = "Storage Table Data Contributor and Storage Queue Data Contributor"
_NEEDS_ROLES: Final = f"give the identity the roles {ROLES} on the account (a new role takes up to ten minutes)"
# Microsoft Learn, "Common REST API error codes" and "Azure Storage: prevent Shared Key authorization".
_REMEDIES: Final = {
    "AuthorizationPermissionMismatch": _NEEDS_ROLES,
    "InsufficientAccountPermissions": _NEEDS_ROLES,
    "KeyBasedAuthenticationNotPermitted": (
        "the account does not accept keys: set LeadsStorage__accountName and LeadsStorage__credential instead of LeadsStorage, "
        f"and {_NEEDS_ROLES}"
    ),
    "AccountIsDisabled": "the account is disabled: check the account and its subscription in the Azure portal",
}


@dataclass(frozen=True, slots=True)
class StorageProblem:
    """What is wrong, and the remedy."""

    says: str
    remedy: str


def storage_problem(error: StorageError) -> StorageProblem:
    """The problem behind a failed call."""
    if not isinstance(error, HttpResponseError):
        says = f"the storage account does not answer ({type(error).__name__})"
        return StorageProblem(says, "check its name and the network")
    if isinstance(error, ClientAuthenticationError) and not error.status_code:
        return no_login()
    code = getattr(error, "error_code", None)
    code = str(getattr(code, "value", code) or "")
    answer = f"{error.status_code} {code}".rstrip()
    if error.status_code in {401, 403}:
        remedy = _REMEDIES.get(code) or (
            f"check the key, or give your login the roles {ROLES}; a firewall of the account gives the same answer"
        )
        return StorageProblem(f"the storage account refuses ({answer})", remedy)
    return StorageProblem(
        f"the storage account answers {answer}", _REMEDIES.get(code) or "try again later; https://status.azure.com"
    )


def no_login() -> StorageProblem:
    """The problem of a missing identity, or an identity that gets no token."""
    return StorageProblem(
        "there is no Azure login",
        "run az login, or set LeadsStorage to a connection string; the deployed app needs an identity, and "
        "LeadsStorage__clientId if that identity is user-assigned",
    )
