"""What libraries may log. The Functions worker sets the root logger to INFO, and hands whatever is logged to the host."""

import logging
from typing import Final

LIBRARIES: Final = ("azure", "charset_normalizer", "msal", "msal_extensions", "requests", "werkzeug")
"""Loggers of what is deployed. Azure's would tell of each request with its address: row keys, and so hashes of customers."""


def quiet_libraries() -> None:
    """Let libraries log nothing below a warning, whatever the root logger's level is."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    silence_urllib3()


def silence_urllib3() -> None:
    """Let urllib3 log no warnings either: they hold whole addresses and headers, and some of those are secrets."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)
