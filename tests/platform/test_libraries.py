"""Libraries must not fill the log: their records have row keys, addresses and secrets."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from leads.platform.libraries import LIBRARIES
from tests.support.locked import LOCK

ROOT = Path(__file__).parents[2]


def loggers_of(name: str) -> set[str]:
    """The packages of a distribution that log."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return set()  # one that another Python version needs
    sources = [file for file in files if file.suffix == ".py" and len(file.parts) > 1]
    return {file.parts[0] for file in sources if "getLogger(" in file.read_text()}


def test_no_library_that_is_deployed_is_forgotten() -> None:
    logging_ones = set[str]().union(*(loggers_of(package.name) for package in LOCK))
    assert logging_ones == {*LIBRARIES, "urllib3"}


FROM_A_WORKER = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
logging.getLogger().setLevel(logging.INFO)
{starting}
for name in {names}:
    logging.getLogger(f"{{name}}.any.part").info("%s tells something", name)
logging.getLogger("urllib3.connection").warning("urllib3 warns of an address")
logging.getLogger("azure.any").warning("azure warns")
logging.getLogger("leads").info("an event")
"""


@pytest.mark.parametrize(
    "starting",
    ["import function_app", "from leads.cli import main; main(['offers', 'list'])"],
    ids=["the function app", "the command line"],
)
def test_with_the_root_logger_at_info_only_the_app_and_warnings_are_heard(starting: str) -> None:
    code = FROM_A_WORKER.format(starting=starting, names=[*LIBRARIES, "urllib3"])
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    assert ran.stdout.splitlines() == ["WARNING:azure.any:azure warns", "INFO:leads:an event"]


COLD_START = """
import sys
read = []
sys.addaudithook(lambda event, args: event == "open" and read.append(str(args[0])))
import function_app
import requests
answer = requests.Response()
answer._content = "Zoë".encode()
print(requests.compat.chardet, "charset_normalizer.api" in sys.modules, answer.text == "Zoë")
print([name for name in read if name.endswith(("entry_points.txt", "METADATA"))])
print(sorted({"azure.data.tables", "azure.identity", "msal", "leads.platform.secrets"} & sys.modules.keys()))
"""


def test_a_cold_start_loads_no_detector_of_character_sets_no_plugins_and_nothing_that_the_intake_leaves_alone() -> None:
    ran = subprocess.run([sys.executable, "-c", COLD_START], cwd=ROOT, capture_output=True, timeout=300)
    assert ran.stdout.decode().splitlines() == ["None False True", "[]", "[]"]
    assert ran.stderr == b""


STORED_BY_THREADS = """
from requests import Response
from requests.adapters import HTTPAdapter
from urllib3.response import HTTPResponse

MESSAGE = (
    "<QueueMessage><MessageId>1</MessageId><InsertionTime>Fri, 09 Oct 2026 21:04:30 GMT</InsertionTime><ExpirationTime>"
    "Fri, 31 Dec 9999 23:59:59 GMT</ExpirationTime><PopReceipt>receipt</PopReceipt><TimeNextVisible>Fri, 09 Oct 2026 "
    "21:04:30 GMT</TimeNextVisible><DequeueCount>1</DequeueCount><MessageText>text</MessageText></QueueMessage>"
)
CHALLENGE = 'Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"'

def answer(self, request, **options):
    response = Response()
    response.request, response.url, response.raw = request, request.url, HTTPResponse()
    if "vault" not in request.url:
        response.status_code = 201 if request.method == "POST" else 200
        response.headers["Content-Type"] = "application/xml"
        response._content = f"<QueueMessagesList>{MESSAGE}</QueueMessagesList>".encode()
    elif "Authorization" not in request.headers:
        response.status_code, response.headers["WWW-Authenticate"], response._content = 401, CHALLENGE, b""
    else:
        response.status_code, response.headers["Content-Type"] = 200, "application/json"
        response._content = b'{"value": "v", "id": "https://contoso.vault.azure.net/secrets/name/version", "attributes": {}}'
    return response

HTTPAdapter.send = answer

def below(kind):
    for other in type.__subclasses__(kind):
        yield other
        yield from below(other)

def written():
    return {kind: set(vars(kind)) for kind in below(object) if str(kind.__module__).startswith("azure.")}

from leads.platform import secrets, storage
from azure.core.credentials import AccessToken

class Login:
    def get_token(self, *scopes, **options):
        return AccessToken("token", 9999999999)

from leads.platform.settings import Settings

settings = Settings.model_validate(
    {"LeadsStorage": "UseDevelopmentStorage=true", "LEADS_KEY_VAULT_URI": "https://contoso.vault.azure.net"}
)
settings.__dict__["credential"] = Login()
build, built = storage.build_models, []

def building(models):
    build(models)
    built.append(models)
    known.update(written())

secrets.build_models = storage.build_models = building
known = written()
queue = storage.Storage(settings).queue("leads")
queue.put("text")
assert built == [], "at a cold start of the intake nothing is built"
assert queue.receive(1, 30)
assert queue.receive(1, 30)
assert secrets.Secrets(settings).read("keyvault:name") == "v"
assert len(built) == 2
for kind, names in written().items():
    if names != known.get(kind, names):
        print(kind.__qualname__, sorted(names - known[kind]))
"""


def test_no_class_of_an_azure_client_is_written_to_while_threads_use_it() -> None:
    """A thread that iterates over the class at that moment fails: leads of a cold start would get 500."""
    ran = subprocess.run(
        [sys.executable, "-c", STORED_BY_THREADS], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("", "", 0)
