"""The floor: what nobody can leave out, one `send_message` to take a lead and three writes to deliver one.

It decides nothing and reads nothing. What it writes has the columns and lengths of what the app writes, made once from the
app's own rows. Its clients are the SDK's as they are, with the app's time-outs and connection pools.
"""

import os
from contextlib import suppress
from typing import Any

import azure.functions as func
import requests
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError
from azure.data.tables import TableClient, TableTransactionError, UpdateMode
from azure.storage.queue import LinearRetry, QueueClient, TextBase64EncodePolicy
from requests.adapters import HTTPAdapter

from benchmarks.typical import LEAD_ID_LENGTH, message, rows
from leads.platform.azure_transport import BoundedTransport
from leads.platform.libraries import quiet_libraries
from leads.platform.storage import TABLE_TIMEOUTS

STORAGE = os.environ["LeadsStorage"]  # noqa: SIM112 - as the app names it
THREADS = int(os.environ["PYTHON_THREADPOOL_THREAD_COUNT"])
SHARED = BoundedTransport(THREADS, TABLE_TIMEOUTS)
QUEUE = QueueClient.from_connection_string(
    STORAGE,
    "leads",
    message_encode_policy=TextBase64EncodePolicy(),
    # Azurite closes a connection after five idle seconds; the client's own policy would then wait for fifteen.
    retry_policy=LinearRetry(backoff=0, retry_total=1, random_jitter_range=0),
    transport=SHARED,
)
LEDGER = TableClient.from_connection_string(STORAGE, "LeadLedger", transport=SHARED, **TABLE_TIMEOUTS)
APART = BoundedTransport(THREADS, TABLE_TIMEOUTS)
DESTINATION = TableClient.from_connection_string(STORAGE, "MarketplaceLeads", transport=APART, **TABLE_TIMEOUTS)
SHARED.trust(QUEUE.url, LEDGER.url)
APART.trust(DESTINATION.url)
quiet_libraries()
VENDOR = os.environ.get("FLOOR_VENDOR", "")
"""Where a lead goes instead of the destination's table: one bare POST."""
SESSION = requests.Session()
SESSION.trust_env = False
SESSION.verify = os.environ.get("LEADS_CA_BUNDLE") or True
SESSION.mount("https://", HTTPAdapter(pool_maxsize=THREADS))
MESSAGE = message(0)[1]
ROWS = rows()

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.function_name("accept_lead")
@app.route("leads/{*offer}", methods=["POST"])
def accept_lead(req: func.HttpRequest) -> func.HttpResponse:
    """Put a message of the usual length on the queue."""
    req.get_body()
    QUEUE.send_message(MESSAGE, time_to_live=-1)
    return func.HttpResponse('{"lead_id":""}', status_code=202, mimetype="application/json")


@app.function_name("deliver_lead")
@app.queue_trigger("message", "leads", connection="LeadsStorage")
def deliver_lead(message: func.QueueMessage) -> None:
    """Claim, write to the destination, settle: with the transactions of a customer's first lead."""
    with suppress(
        ResourceExistsError, TableTransactionError
    ):  # storage has acted, the answer was lost, the client asked again
        _deliver(message)


def _deliver(message: func.QueueMessage) -> None:
    lead_id = message.get_body().decode().partition('"lead_id":"')[2][:LEAD_ID_LENGTH]
    partition = lead_id[-1]

    def keyed(row: dict[str, Any], prefix: str, suffix: str = "") -> dict[str, Any]:
        return row | {"PartitionKey": partition, "RowKey": f"{prefix}{lead_id}{suffix}"}

    customer = keyed(ROWS.claimed, "cust;", ROWS.scope)
    etag = LEDGER.create_entity(customer)["etag"]
    if VENDOR:
        SESSION.post(VENDOR, data=MESSAGE.encode(), timeout=60).raise_for_status()
    else:
        DESTINATION.create_entity(ROWS.destination | {"RowKey": lead_id})
    unchanged = {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MatchConditions.IfNotModified}
    LEDGER.submit_transaction(
        [
            ("update", keyed(ROWS.settled, "cust;", ROWS.scope), unchanged),
            ("create", keyed(ROWS.lead, "lead;"), {}),
            ("upsert", keyed(ROWS.listing, ROWS.listing_prefix), {"mode": UpdateMode.REPLACE}),
        ]
    )
