"""One side of a comparison: a host with an app in it, its storage, and what drives and watches it."""

import http.client
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psutil
from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from benchmarks.typical import OFFER_SETTINGS
from devhost.process import ROOT, DevhostProcess
from leads.app import App
from leads.destinations.rate_limiter import ALLOWANCES_TABLE
from leads.health.connections import CONNECTIONS_TABLE
from leads.ledger.transactions import LEDGER_TABLE
from leads.offers.model import read_offer
from leads.offers.table import OFFERS_TABLE
from leads.platform.azure_transport import BoundedTransport
from leads.platform.settings import Settings
from leads.platform.storage import LEADS_QUEUE, TABLE_TIMEOUTS, make_table
from tests.support.proxy import Proxy
from tools.azurite import Azurite

OURS = ROOT
FLOOR = ROOT / "benchmarks" / "floor"
THREADS = 32
"""As local.settings.example.json has it: both apps' thread pools and connection pools."""
CLIENTS = 16
STUCK_SECONDS = 120.0
KEY = "benchmark"


class Stuck(RuntimeError):
    """An app has stopped making progress; the text says where."""


def app_on(storage: str) -> App:
    """The app's parts on an account, to configure it and to look at what it holds."""
    return App(Settings.model_validate({"LeadsStorage": storage}))


class Side:
    """A running app and its own storage account."""

    def __init__(self, host: DevhostProcess, storage: str) -> None:
        self.host = host
        self.storage = storage
        self._process = psutil.Process(host.pid)
        policy, transport = TextBase64EncodePolicy(), BoundedTransport(CLIENTS, TABLE_TIMEOUTS)
        self._queue = QueueClient.from_connection_string(
            storage, LEADS_QUEUE, message_encode_policy=policy, transport=transport
        )
        transport.trust(self._queue.url)

    def cpu_seconds(self) -> float:
        """Processor time of the host's process so far, in user and system mode."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def pause(self) -> None:
        self.host.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.host.signal(signal.SIGCONT)

    def put(self, texts: Sequence[str]) -> None:
        """Put messages as the intake does."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda text: self._queue.send_message(text, time_to_live=-1), texts))

    def clear(self) -> None:
        self._queue.clear_messages()

    def waiting(self) -> int:
        """Messages on the queue, those under way too."""
        return self._queue.get_queue_properties().approximate_message_count or 0

    def wait_until_empty(self) -> None:
        """Looks seldom while much is left: the looks cost storage time too."""
        try:
            wait_until(lambda: self.waiting() == 0, "delivering", pause=lambda: min(0.2, self.waiting() / 1000 + 0.01))
        except Stuck as stuck:
            raise Stuck(f"{stuck}; the log ends in\n{self.host.log[-3000:]}") from None

    def post(self, bodies: Sequence[bytes]) -> float:
        """Post leads over `CLIENTS` kept connections; gives the seconds that it took. Raises `Stuck` at any answer but 202."""
        shares = [bodies[start::CLIENTS] for start in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            connections = list(pool.map(lambda _: self.connect(), shares))
            started = time.perf_counter()
            list(pool.map(_post_all, connections, shares))
            return time.perf_counter() - started

    def post_alone(self, body: bytes) -> str:
        """Post one lead over a connection of its own, since an idle one would have been closed; its id."""
        with closing(self.connect()) as connection:
            return post_one(connection, body)

    def connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.host.base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        connection.connect()
        return connection


def post_one(connection: http.client.HTTPConnection, body: bytes) -> str:
    """Post one lead; its id."""
    connection.request("POST", "/api/leads", body, {"Content-Type": "application/json", "x-functions-key": KEY})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 202:
        raise Stuck(f"a lead was answered {response.status}")
    return str(json.loads(answer)["lead_id"])


def _post_all(connection: http.client.HTTPConnection, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        post_one(connection, body)
    connection.close()


def wait_until(done: Callable[[], bool], what: str, pause: Callable[[], float] = lambda: 0.01) -> None:
    """Raises `Stuck` after `STUCK_SECONDS`."""
    deadline = time.monotonic() + STUCK_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise Stuck(f"{what}: not done after {STUCK_SECONDS:.0f} s")
        time.sleep(pause())


@contextmanager
def running(
    app_dir: Path,
    storage: str,
    *arguments: str,
    offer: Mapping[str, Any] = OFFER_SETTINGS,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Side]:
    """Start an app on an empty account, which gets its queue, tables and offer first."""
    prepare(storage, offer)
    settings = {
        "LeadsStorage": storage,
        "AzureWebJobsStorage": storage,
        "PYTHON_THREADPOOL_THREAD_COUNT": str(THREADS),
        **(environment or {}),
    }
    with DevhostProcess(app_dir, "--in-process", "--function-key", KEY, *arguments, env=settings, timeout=120) as host:
        side = Side(host, storage)
        try:
            yield side
        finally:
            side.go_on()  # a stopped process would not hear that it is to end


@contextmanager
def accounts(count: int) -> Iterator[list[str]]:
    """Connection strings of so many empty accounts of one Azurite.

    On disk, because in memory every message is an extent of its own, and once a minute Azurite stands still for seconds
    to remove those of thousands of deleted messages one by one.
    """
    with TemporaryDirectory(prefix="benchmark-") as folder, Azurite(Path(folder), accounts=count) as azurite:
        yield azurite.account_connection_strings


def prepare(storage: str, offer: Mapping[str, Any] = OFFER_SETTINGS) -> None:
    """Make what the first lead would otherwise make."""
    app = app_on(storage)
    for name in (LEDGER_TABLE, CONNECTIONS_TABLE, OFFERS_TABLE, ALLOWANCES_TABLE, "MarketplaceLeads"):
        make_table(app.storage.table(name).client)
    QueueClient.from_connection_string(storage, LEADS_QUEUE).create_queue()
    app.offers.save(read_offer(offer))


@dataclass(frozen=True)
class Tally:
    """Storage requests by what they do. `refreshes` are the reads and writes that come with time, not with leads, and
    `countings` those by which one lead of a hundred adds the hundred to its offer's daily count."""

    requests: Counter[str]
    refreshes: int
    countings: int
    empty_polls: int

    @property
    def leads(self) -> int:
        return self.requests["queue delete"]

    @property
    def total(self) -> int:
        return self.requests.total()


def tally(proxy: Proxy) -> Tally:
    """What a proxy has passed on since it was told to forget."""
    requests: Counter[str] = Counter()
    refreshes = countings = empty_polls = 0
    for request in list(proxy.journal):
        if request.is_poll and not request.step:
            empty_polls += 1
        elif request.target in {OFFERS_TABLE, CONNECTIONS_TABLE} or request.name == f"table query {LEDGER_TABLE}":
            refreshes += 1
        elif request.target == ALLOWANCES_TABLE:
            countings += 1
        else:
            requests[f"{request.service} {request.operation}"] += 1
    return Tally(requests, refreshes, countings, empty_polls)


os.environ.setdefault("NO_PROXY", "127.0.0.1")
