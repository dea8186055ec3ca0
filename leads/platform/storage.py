"""Queue and table clients, with credentials and time-outs. They create missing queues and tables."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import LinearRetry, QueueClient, QueueMessage, TextBase64EncodePolicy
from azure.storage.queue._generated import models

from leads.platform.libraries import build_models
from leads.platform.message_client import MessageClient
from leads.platform.settings import Settings

if TYPE_CHECKING:
    from azure.data.tables import TableClient

LEADS_QUEUE = "leads"
POISON_QUEUE = "leads-poison"
NOTICES_QUEUE = "leads-notices"
NEVER = -1
_NO_MESSAGE = "00000000-0000-0000-0000-000000000000"
_NO_RECEIPT = "AgAAAAMAAAAAAAAAAAAAAAAAAAA="

# Two tries of (connect + read) take less than the five seconds in which the intake must answer.
_QUEUE_TIMEOUTS: dict[str, Any] = {
    "connection_timeout": 1.0,
    "read_timeout": 1.3,
}
TABLE_TIMEOUTS: dict[str, Any] = {
    "connection_timeout": 3,
    "read_timeout": 15,
    "retry_total": 2,
    "retry_backoff_factor": 0.2,
}
INTAKE_TIMEOUTS: dict[str, Any] = TABLE_TIMEOUTS | {
    "connection_timeout": 1.0,
    "read_timeout": 1.3,
    "retry_total": 1,
    "retry_status": 0,  # the SDK would wait as long as the answer asks for
}
"""Time-outs for the intake, the same as the queue's: if storage fails, the sender gets its answer within five seconds."""
CLI_TIMEOUTS: dict[str, Any] = TABLE_TIMEOUTS | {"read_timeout": 12, "retry_connect": 1, "retry_read": 0}
"""Time-outs for a person at a shell: if storage does not answer, the command says so within 15 seconds."""

StorageError = AzureError
"""The base class of all errors of storage calls."""


def is_invalid_request(error: StorageError) -> bool:
    """Whether storage refused the request for its content, so that a retry would not help."""
    return isinstance(error, HttpResponseError) and error.status_code in {400, 413}


class StorageBusy(StorageError):
    """Other threads already wait for the same read, or keep changing the same row. Try again later."""

    def __init__(self, message: str = "others are waiting for storage") -> None:
        super().__init__(message)


OPERATIONS_IN_A_TRANSACTION: Final = 100
"""Microsoft Learn, "Performing entity group transactions"."""
Operation = tuple[Literal["create", "upsert", "update", "delete"], Mapping[str, Any], Mapping[str, Any]]
Result = TypeVar("Result")


@cache
def _build_queue_models() -> None:
    build_models(models)


class Queue:
    """A storage queue. Its messages are base64 text, as the Functions host expects, and never expire."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client

    @property
    def _reader(self) -> QueueClient:
        """The client for all but `put`, which needs none of the SDK's models: a cold start of the intake builds none."""
        _build_queue_models()
        return self._client

    def put(self, text: str, delay: int = 0) -> None:
        """Put a message that becomes visible after `delay` seconds (at most 7 days). Creates the queue if it is missing."""
        self._making_queue(
            lambda: self._client.send_message(text, visibility_timeout=delay or None, time_to_live=NEVER)
        )

    def receive(self, count: int, hidden_for: int) -> list[QueueMessage]:
        """Receive up to `count` (1 to 32) messages, hidden for `hidden_for` seconds. Their text is not decoded."""
        try:
            return list(
                self._reader.receive_messages(
                    messages_per_page=count, max_messages=count, visibility_timeout=hidden_for
                )
            )
        except ResourceNotFoundError:
            return []

    def delete(self, message: QueueMessage) -> None:
        """Remove a message. Does nothing if another reader has received or removed it since."""
        try:
            self._reader.delete_message(message)
        except HttpResponseError as error:
            if error.status_code != 404 and "PopReceiptMismatch" not in str(error):
                raise

    def show_again(self, message: QueueMessage) -> None:
        """Make a message visible again at once. Does nothing if another reader has received or removed it since."""
        try:
            # Given the message itself, the SDK would also send its text, and encode it a second time.
            self._reader.update_message(message.id, message.pop_receipt, visibility_timeout=0)
        except HttpResponseError as error:
            if error.status_code != 404 and "PopReceiptMismatch" not in str(error):
                raise

    def depth(self) -> int:
        """The approximate number of messages, with hidden and delayed ones. 0 if the queue is missing."""
        return self.count() or 0

    def count(self) -> int | None:
        """As `depth`, but None if the queue is missing."""
        try:
            return self._reader.get_queue_properties().approximate_message_count or 0
        except ResourceNotFoundError:
            return None

    def try_to_change(self) -> None:
        """Try to delete a message that does not exist. Raises `StorageError` without the right to write."""
        try:
            self._reader.delete_message(_NO_MESSAGE, _NO_RECEIPT)
        except HttpResponseError as error:
            if error.status_code not in {400, 404}:
                raise

    def _making_queue(self, call: Callable[[], object]) -> None:
        try:
            call()
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                self._reader.create_queue()
            call()


class Conflict(Exception):
    """A conditional write found an unexpected state at operation number `index`, from 0."""

    def __init__(self, index: int, missing: bool) -> None:
        super().__init__(f"operation {index}")
        self.index = index
        self.missing = missing
        """Whether the expected entity does not exist."""


class Table:
    """A table. Writes and transactions raise `Conflict`. The first write creates a missing table."""

    def __init__(self, client: "TableClient") -> None:
        self.client = client

    def write(self, operations: list[Operation]) -> list[str]:
        """Carry out 1 to 100 operations of one partition, all or none. Returns their new ETags ("" for a delete)."""
        if len(operations) == 1 and not _deletes_if_unchanged(operations[0]):
            return [self._making_table(lambda: self._write_one(*operations[0]))]
        results = self._making_table(lambda: self._submit(operations))
        return [str(result.get("etag", "")) for result in results]

    def write_all(self, operations: list[Operation]) -> None:
        """Carry out any number of operations of one partition, in transactions of at most 100."""
        for first in range(0, len(operations), OPERATIONS_IN_A_TRANSACTION):
            self.write(operations[first : first + OPERATIONS_IN_A_TRANSACTION])

    def get(self, partition: str, row: str, **options: Any) -> "dict[str, Any] | None":
        """The entity with its `.metadata`, or None."""
        try:
            return self.client.get_entity(partition, row, **options)
        except ResourceNotFoundError:
            return None

    def query(self, condition: str, *, select: list[str] | None = None, **options: Any) -> "list[dict[str, Any]]":
        """All entities that meet an OData condition, with their `.metadata` unless columns are selected."""
        pages = self.pages(condition, page_size=1000, select=select, **options)
        return [entity for page in pages for entity in page]

    def pages(self, condition: str, *, page_size: int, select: list[str] | None = None, **options: Any) -> Any:
        """Pages of entities that meet an OData condition, in key order. One request gives a page of up to `page_size`."""
        try:
            found = self.client.query_entities(condition, results_per_page=page_size, select=select, **options)
            for page in found.by_page():
                yield list(page)
        except ResourceNotFoundError:
            return

    def exists(self) -> bool:
        """Whether the table exists. Reads one row at most."""
        try:
            next(self.client.query_entities("RowKey eq ''", results_per_page=1).by_page(), None)
        except ResourceNotFoundError:
            return False
        return True

    def try_to_change(self) -> None:
        """Try to delete a row that does not exist. Raises `StorageError` without the right to write."""
        with raising_the_cause():
            self.client.delete_entity(_NO_MESSAGE, _NO_MESSAGE)  # the client raises nothing for a missing row

    def _write_one(self, verb: str, entity: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        call: Any = {
            "create": self.client.create_entity,
            "upsert": self.client.upsert_entity,
            "update": self.client.update_entity,
            "delete": self.client.delete_entity,
        }[verb]
        try:
            with raising_the_cause():
                result = call(entity, **options)
        except HttpResponseError as error:
            raise _conflict(error, 0, verb) from error
        return str(result["etag"]) if result else ""

    def _submit(self, operations: list[Operation]) -> Any:
        from azure.data.tables import TableTransactionError

        try:
            with raising_the_cause():
                return self.client.submit_transaction(operations)
        except TableTransactionError as error:
            raise _conflict(error, error.index, operations[error.index][0]) from error

    def _making_table(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except HttpResponseError as error:
            if not _table_is_missing(error):
                raise
        make_table(self.client)
        return call()


def _deletes_if_unchanged(operation: Operation) -> bool:
    """Whether an operation must be sent as a transaction: azure-data-tables 12.7.0 hides that a row to delete is missing."""
    verb, _, options = operation
    return verb == "delete" and "etag" in options


def storing(entity: Mapping[str, Any], etag: str) -> Operation:
    """The operation that replaces the row with this ETag; "" = creates the row."""
    return ("update", entity, replacing(etag)) if etag else ("create", entity, {})


def replacing(etag: str | None = None) -> dict[str, Any]:
    """Options of a write that replaces the whole row. With `etag`, it succeeds only if the row still has this ETag."""
    from azure.data.tables import UpdateMode

    return {"mode": UpdateMode.REPLACE} | if_unchanged(etag)


def if_unchanged(etag: str | None) -> dict[str, Any]:
    """Options of a write that succeeds only if the row still has this ETag; empty without an ETag."""
    from azure.core import MatchConditions

    return {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}


@contextmanager
def raising_the_cause() -> Iterator[None]:
    """Raise the real error that a table client hides.

    If a call fails before an answer comes (no token, a malformed key), azure-data-tables 12.7.0 still looks for the answer. It
    then raises AttributeError instead of the error.
    """
    try:
        yield
    except AttributeError as error:
        if isinstance(error.__context__, AzureError):
            raise error.__context__ from None
        raise


def make_table(client: "TableClient") -> None:
    """Create the client's table, unless it exists."""
    with suppress(ResourceExistsError):
        client.create_table()


def _table_is_missing(error: HttpResponseError) -> bool:
    return error.status_code == 404 and "TableNotFound" in str(error)


def _conflict(error: HttpResponseError, index: int, verb: str) -> Exception:
    if error.status_code in {409, 412} and "TableBeingDeleted" not in str(error):
        return Conflict(index, missing=False)
    if error.status_code == 404 and verb != "create" and not _table_is_missing(error):
        return Conflict(index, missing=True)
    return error


class Storage:
    """Clients for the storage account of `LeadsStorage`, by connection string or identity. Table clients are reused."""

    def __init__(self, settings: Settings, table_timeouts: Mapping[str, Any] = TABLE_TIMEOUTS) -> None:
        self._settings = settings
        from leads.platform.azure_transport import BoundedTransport

        threads = settings.thread_count
        self._table_options = {**table_timeouts, "transport": BoundedTransport(threads, table_timeouts)}
        self._queue_options = {**_QUEUE_TIMEOUTS, "transport": BoundedTransport(threads, _QUEUE_TIMEOUTS)}
        self._tables: dict[str, Table] = {}
        self._lock = Lock()

    def queue(self, name: str, *, encoded: bool = True) -> Queue:
        """A queue. With `encoded=False`, `put` writes the text as it is, not as base64."""
        # A policy object holds its pipeline. Clients that share a policy would use the last client's account and key.
        options = self._queue_options | {"retry_policy": LinearRetry(backoff=0, retry_total=1, random_jitter_range=0)}
        if encoded:
            options["message_encode_policy"] = TextBase64EncodePolicy()
        if self._settings.storage_connection_string:
            client = MessageClient.from_connection_string(self._settings.storage_connection_string, name, **options)
        else:
            client = MessageClient(self._settings.queue_endpoint, name, credential=self._settings.credential, **options)
        options["transport"].trust(client.url)
        return Queue(client)

    def table(self, name: str) -> Table:
        with self._lock:
            if name not in self._tables:
                client = self._table_client(name)
                self._table_options["transport"].trust(client.url)
                self._tables[name] = Table(client)
            return self._tables[name]

    def _table_client(self, name: str) -> "TableClient":
        options = self._table_options
        if self._settings.storage_connection_string:
            return table_client(name, connection_string=self._settings.storage_connection_string, **options)
        endpoint, credential = self._settings.table_endpoint, self._settings.credential
        return table_client(name, endpoint=endpoint, credential=credential, **options)


def table_client(
    name: str, *, connection_string: str = "", endpoint: str = "", credential: Any = None, **options: Any
) -> "TableClient":
    """A client for one table, by connection string or by endpoint and credential, with the app's time-outs."""
    from leads.platform.table_transactions import TransactionClient

    options = TABLE_TIMEOUTS | options
    if connection_string:
        return TransactionClient.from_connection_string(connection_string, name, **options)
    return TransactionClient(endpoint, name, credential=credential, **options)


class AnswerTime:
    """Storage's clock. Use it as `raw_response_hook`: `at` is then the time of the last answer."""

    at: datetime

    def __call__(self, response: Any) -> None:
        from email.utils import parsedate_to_datetime

        self.at = parsedate_to_datetime(response.http_response.headers["Date"])
