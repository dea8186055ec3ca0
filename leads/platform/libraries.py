"""Rules for third-party libraries: what they load, their log level, their models under threads, and the meaning of their errors.

The Functions worker sets the root logger to INFO, and passes all log records to the host.
"""

import logging
import os
import sys
import warnings
from json import JSONDecodeError
from threading import Lock
from types import ModuleType
from typing import Final

LIBRARIES: Final = ("azure", "charset_normalizer", "msal", "msal_extensions", "requests", "werkzeug")
"""Loggers of the deployed libraries. Azure's logger writes the address of each request, which has row keys with hashes of
customers."""


def load_less() -> None:
    """Keep libraries from loading at a cold start what nothing here uses: before pydantic's first model and requests.

    pydantic would read the metadata of every package for plugins (its documentation, "Plugins", `PYDANTIC_DISABLE_PLUGINS`).
    requests would load a detector of character sets for text that names none; it reads that as UTF-8 where there is no detector.
    """
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type] # "import" then fails (documentation of sys.modules)
    warnings.filterwarnings("ignore", "Unable to find acceptable character detection dependency")


def quiet_libraries() -> None:
    """Let libraries log only warnings and errors, whatever the root logger's level is."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    silence_urllib3()


def silence_urllib3() -> None:
    """Let urllib3 log only errors: its warnings have whole addresses and headers, which can be secrets."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)


_building: Final = Lock()


def build_models(models: ModuleType) -> None:
    """Make one object of each model of an Azure SDK, so that its class is complete before threads use it. No I/O.

    At the first use, `Model.__new__` adds attributes to its class. If another thread iterates over them at that moment, it fails:
    "dictionary changed size during iteration" (azure-storage-queue 12.18.1, azure-keyvault-secrets 4.12.0).
    """
    with _building:
        for model in vars(models).values():
            if hasattr(model, "_calculated"):
                model()


def is_unanswered(error: Exception) -> bool:
    """Whether an Azure client got no answer, an unreadable answer, or an answer that asks it to retry later.

    Source: Microsoft Learn, "Azure Key Vault REST API error codes".
    """
    from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

    if isinstance(error, HttpResponseError):
        return error.status_code in {408, 429} or (error.status_code or 0) >= 500
    return isinstance(error, ServiceRequestError | ServiceResponseError | JSONDecodeError)
