"""Queue and table clients: one place for credentials, time-outs, and for making what is missing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
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

# Two tries of (connect + read) stay below the five seconds within which the intake has to answer.
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
    "retry_status": 0,  # a status is retried after the time that the answer names, however long that is
}
"""Time-outs for the intake, as the queue's: a lead that can't be kept is answered within five seconds."""
CLI_TIMEOUTS: dict[str, Any] = TABLE_TIMEOUTS | {"read_timeout": 12, "retry_connect": 1, "retry_read": 0}
"""Time-outs for someone at a shell: storage that does not answer is called so within 15 seconds."""

build_models(models)  # here, because there is no client yet

StorageError = AzureError
"""What every failed call to storage raises."""


def is_our_fault(error: StorageError) -> bool:
    """Whether storage understood the request and refused it for what it says: waiting would not help."""
    return isinstance(error, HttpResponseError) and error.status_code in {400, 413}


class StorageBusy(StorageError):
    """Others wait for storage on the same errand, or change the same row over and over; try again a little later."""

    def __init__(self, message: str = "others are waiting for storage") -> None:
        super().__init__(message)


OPERATIONS_IN_A_TRANSACTION: Final = 100
"""Microsoft Learn, "Performing entity group transactions"."""
Operation = tuple[Literal["create", "upsert", "update", "delete"], Mapping[str, Any], Mapping[str, Any]]
Result = TypeVar("Result")


class Queue:
    """A storage queue whose messages are base64 text, as the Functions host expects, and never expire."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client

    def put(self, text: str, delay: int = 0) -> None:
        """Put a message that becomes visible after `delay` seconds (at most 7 days). Makes the queue if it is missing."""
        self._making_queue(
            lambda: self._client.send_message(text, visibility_timeout=delay or None, time_to_live=NEVER)
        )

    def receive(self, count: int, hidden_for: int) -> list[QueueMessage]:
        """Up to `count` (1 to 32) messages, hidden from others for `hidden_for` seconds; their text is left as it is stored."""
        try:
            return list(
                self._client.receive_messages(
                    messages_per_page=count, max_messages=count, visibility_timeout=hidden_for
                )
            )
        except ResourceNotFoundError:
            return []

    def delete(self, message: QueueMessage) -> None:
        """Remove a message, unless another reader has received or removed it since."""
        try:
            self._client.delete_message(message)
        except HttpResponseError as error:
            if error.status_code != 404 and "PopReceiptMismatch" not in str(error):
                raise

    def show_again(self, message: QueueMessage) -> None:
        """Let others see a message again at once, unless one of them has received or removed it since."""
        try:
            # With the message itself the SDK sends its text, too, and encodes it once more.
            self._client.update_message(message.id, message.pop_receipt, visibility_timeout=0)
        except HttpResponseError as error:
            if error.status_code != 404 and "PopReceiptMismatch" not in str(error):
                raise

    def depth(self) -> int:
        """About how many messages the queue holds, hidden and delayed ones too."""
        return self.count() or 0

    def count(self) -> int | None:
        """The same; None = there is no such queue."""
        try:
            return self._client.get_queue_properties().approximate_message_count or 0
        except ResourceNotFoundError:
            return None

    def try_to_change(self) -> None:
        """Refuse to delete a message. Raises `StorageError` where only reading is allowed."""
        try:
            self._client.delete_message(_NO_MESSAGE, _NO_RECEIPT)
        except HttpResponseError as error:
            if error.status_code not in {400, 404}:
                raise

    def _making_queue(self, call: Callable[[], object]) -> None:
        try:
            call()
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                self._client.create_queue()
            call()


class Conflict(Exception):
    """A conditional write found another state than it expected: entity number `index` of the operations."""

    def __init__(self, index: int, missing: bool) -> None:
        super().__init__(f"operation {index}")
        self.index = index
        self.missing = missing
        """True if the entity was expected and is not there."""


class Table:
    """A table. Its single writes and transactions raise `Conflict`. A missing table is made at its first use."""

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
        """Every entity that meets an OData condition, with its `.metadata` unless columns are selected."""
        pages = self.pages(condition, page_size=1000, select=select, **options)
        return [entity for page in pages for entity in page]

    def pages(self, condition: str, *, page_size: int, select: list[str] | None = None, **options: Any) -> Any:
        """Entities that meet an OData condition, in key order, a page of at most `page_size` for each request."""
        try:
            found = self.client.query_entities(condition, results_per_page=page_size, select=select, **options)
            for page in found.by_page():
                yield list(page)
        except ResourceNotFoundError:
            return

    def exists(self) -> bool:
        """Whether it is there. Reads a row at most."""
        try:
            next(self.client.query_entities("RowKey eq ''", results_per_page=1).by_page(), None)
        except ResourceNotFoundError:
            return False
        return True

    def try_to_change(self) -> None:
        """Refuse to delete a row. Raises `StorageError` where only reading is allowed."""
        with saying_why():
            self.client.delete_entity(_NO_MESSAGE, _NO_MESSAGE)  # that it is not there is no error to the client

    def _write_one(self, verb: str, entity: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        call: Any = {
            "create": self.client.create_entity,
            "upsert": self.client.upsert_entity,
            "update": self.client.update_entity,
            "delete": self.client.delete_entity,
        }[verb]
        try:
            with saying_why():
                result = call(entity, **options)
        except HttpResponseError as error:
            raise _conflict(error, 0, verb) from error
        return str(result["etag"]) if result else ""

    def _submit(self, operations: list[Operation]) -> Any:
        from azure.data.tables import TableTransactionError

        try:
            with saying_why():
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
    """Whether it has to be sent as a transaction: azure-data-tables 12.7.0 does not say that the row to delete is gone."""
    verb, _, options = operation
    return verb == "delete" and "etag" in options


def replacing(etag: str | None = None) -> dict[str, Any]:
    """Options of a write that replaces the whole row, if given only while its ETag is still this one."""
    from azure.data.tables import UpdateMode

    return {"mode": UpdateMode.REPLACE} | if_unchanged(etag)


def if_unchanged(etag: str | None) -> dict[str, Any]:
    """Options of a write that succeeds only if the row still has this ETag; empty without an ETag."""
    from azure.core import MatchConditions

    return {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}


@contextmanager
def saying_why() -> Iterator[None]:
    """Raise the reason that a table client hides.

    If a call fails before there is an answer (no token, a malformed key), azure-data-tables 12.7.0 still looks for the answer.
    It then raises AttributeError instead of the reason.
    """
    try:
        yield
    except AttributeError as error:
        if isinstance(error.__context__, AzureError):
            raise error.__context__ from None
        raise


def make_table(client: "TableClient") -> None:
    """Make the client's table, if it is still missing."""
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
    """Clients for the account behind `LeadsStorage`, by connection string or identity; each is made once."""

    def __init__(self, settings: Settings, table_timeouts: Mapping[str, Any] = TABLE_TIMEOUTS) -> None:
        self._settings = settings
        from leads.platform.azure_transport import BoundedTransport

        threads = settings.thread_count
        self._table_options = {**table_timeouts, "transport": BoundedTransport(threads, table_timeouts)}
        self._queue_options = {**_QUEUE_TIMEOUTS, "transport": BoundedTransport(threads, _QUEUE_TIMEOUTS)}
        self._tables: dict[str, Table] = {}
        self._lock = Lock()

    def queue(self, name: str, *, encoded: bool = True) -> Queue:
        """A queue. With `encoded=False`, what is read from it is left as it is stored."""
        # A policy holds the pipeline behind it: clients that share one also share the last one's account and key.
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
    """Storage's own time: given as `raw_response_hook`, it has the time of the last answer in `at`."""

    at: datetime

    def __call__(self, response: Any) -> None:
        from email.utils import parsedate_to_datetime

        self.at = parsedate_to_datetime(response.http_response.headers["Date"])
