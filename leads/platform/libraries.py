"""What libraries are held to: what they may load and log, that they build nothing while several threads use them, and what their
errors mean.

The Functions worker sets the root logger to INFO, and hands whatever is logged to the host.
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
"""Loggers of what is deployed. Azure's would tell of each request with its address: row keys, and so hashes of customers."""


def load_less() -> None:
    """Keep libraries from loading at a cold start what nothing here uses: before pydantic's first model and requests.

    pydantic would read the metadata of every package for plugins (its documentation, "Plugins", `PYDANTIC_DISABLE_PLUGINS`).
    requests would load a detector of character sets for text that names none; it reads that as UTF-8 where there is no detector.
    """
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type] # "import" then fails (documentation of sys.modules)
    warnings.filterwarnings("ignore", "Unable to find acceptable character detection dependency")


def quiet_libraries() -> None:
    """Let libraries log nothing below a warning, whatever the root logger's level is."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    silence_urllib3()


def silence_urllib3() -> None:
    """Let urllib3 log no warnings either: they hold whole addresses and headers, and some of those are secrets."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)


_building: Final = Lock()


def build_models(models: ModuleType) -> None:
    """Build what the models of an Azure SDK build at their first use; without I/O, and once.

    `Model.__new__` writes attributes into its class while another thread may be going through them: "dictionary changed size
    during iteration" (azure-storage-queue 12.18.1, azure-keyvault-secrets 4.12.0).
    """
    with _building:
        for model in vars(models).values():
            if hasattr(model, "_calculated"):
                model()


def is_unanswered(error: Exception) -> bool:
    """Whether an Azure client got no answer, none that can be read, or the one that it may ask again in a while.

    Microsoft Learn, "Azure Key Vault REST API error codes".
    """
    from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

    if isinstance(error, HttpResponseError):
        return error.status_code in {408, 429} or (error.status_code or 0) >= 500
    return isinstance(error, ServiceRequestError | ServiceResponseError | JSONDecodeError)
