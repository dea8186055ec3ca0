"""The transactions of our client are the SDK's: each test calls both clients and compares."""

import concurrent.futures
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableClient, UpdateMode

from leads.platform.table_transactions import TransactionClient
from tests.support.answering import Answering

ACCOUNT = "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
ETAG = "W/\"datetime'2026-01-31T14%3A00%3A00.1234567Z'\""
UNCHANGED = {"etag": ETAG, "match_condition": MatchConditions.IfNotModified}
KEYS = {"PartitionKey": "p", "RowKey": "it's;1"}
OPERATIONS: list[Any] = [
    ("update", KEYS | {"moment": datetime(2026, 1, 31, tzinfo=UTC)}, {"mode": UpdateMode.REPLACE, **UNCHANGED}),
    ("create", {"PartitionKey": "p", "RowKey": "2", "text": 'Zoë "\r\n--x\nHTTP/1.1 500', "bytes": b"\x00\xff"}, {}),
    ("update", KEYS | {"RowKey": "3", "number": 7}, {"mode": UpdateMode.MERGE}),
    ("upsert", KEYS | {"RowKey": "4", "yes": True}, {"mode": UpdateMode.REPLACE}),
    ("upsert", KEYS | {"RowKey": "5"}, {"mode": UpdateMode.MERGE}),
    ("delete", KEYS | {"RowKey": "6"}, UNCHANGED),
]
WITHOUT_ETAG = "HTTP/1.1 204 No Content\r\nDataServiceVersion: 1.0;\r\n\r\n\r\n"
WITH_ETAG = WITHOUT_ETAG.replace("\r\n\r\n", f"\r\nETag: {ETAG}\r\n\r\n", 1)
CREATED = (
    f"HTTP/1.1 201 Created\r\nContent-Type: application/json;charset=utf-8\r\netag: {ETAG.replace('1234', '9999')}\r\n\r\n"
    '{"PartitionKey":"p","text":"\\nHTTP/1.1 500\\netag: none"}\r\n'
)


def refused(status: int, code: str, message: str) -> str:
    return (
        f"HTTP/1.1 {status} No\r\nContent-Type: application/json;odata=minimalmetadata\r\n\r\n"
        f'{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"{message}"}}}}}}\r\n'
    )


def batch(*parts: str) -> bytes:
    inner = "".join(
        f"--changesetresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n{part}\r\n"
        for part in parts
    )
    head = "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n"
    return f"{head}{inner}--changesetresponse_1--\r\n--batchresponse_1--\r\n".encode()


def answering(status: int, body: bytes, content_type: str = "multipart/mixed; boundary=batchresponse_1") -> Answering:
    return Answering(status, body, content_type)


def both(answer: Callable[[], Answering], operations: list[Any]) -> list[tuple[Any, Answering]]:
    """Result or error of the SDK's client and of ours, and their requests."""
    outcomes: list[tuple[Any, Answering]] = []
    for kind in (TableClient, TransactionClient):
        transport = answer()
        client = kind.from_connection_string(ACCOUNT, "LeadLedger", transport=transport, retry_total=0)
        try:
            outcomes.append((client.submit_transaction(operations), transport))
        except HttpResponseError as error:
            outcomes.append((error, transport))
    return outcomes


def without_what_differs(text: str) -> str:
    """Boundaries and dates differ for each request."""
    text = re.sub(r"(batch|changeset)_[0-9a-f-]{36}", r"\1", text)
    return re.sub(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "DATE", text)


def test_a_transaction_is_asked_for_byte_for_byte_as_the_sdk_asks() -> None:
    answer = batch(*[WITH_ETAG] * len(OPERATIONS))
    (_, theirs), (_, ours) = both(lambda: answering(202, answer), OPERATIONS)
    assert without_what_differs(ours.request.content.decode()) == without_what_differs(theirs.request.content.decode())
    ignored = {"x-ms-client-request-id", "Authorization"}
    headers = [
        {name: without_what_differs(value) for name, value in side.request.headers.items() if name not in ignored}
        for side in (theirs, ours)
    ]
    assert headers[1] == headers[0]
    assert (ours.request.method, ours.request.url) == (theirs.request.method, theirs.request.url)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (202, batch(WITH_ETAG, CREATED, WITHOUT_ETAG)),
        (202, batch(refused(409, "EntityAlreadyExists", "1:The specified entity already exists.\\nTime:1"))),
        (202, batch(refused(412, "UpdateConditionNotSatisfied", "2:The update condition was not satisfied."))),
        (202, batch(refused(404, "ResourceNotFound", "0:The specified resource does not exist."))),
        (202, batch(refused(404, "TableNotFound", "0:The table specified does not exist."))),
        (202, batch(refused(400, "InvalidInput", "1:One of the inputs is not valid."))),
        (202, batch(WITH_ETAG)),
    ],
)
def test_an_answer_means_what_it_means_to_the_sdk(status: int, body: bytes) -> None:
    (theirs, _), (ours, _) = both(lambda: answering(status, body), OPERATIONS[:3])
    assert told(ours) == told(theirs)


def test_one_operation_that_is_too_large_is_called_so() -> None:
    """The SDK gives its error the status 202, which hides that a retry can't help."""
    too_large = batch(refused(413, "RequestBodyTooLarge", "0:The request body is too large."))
    (theirs, _), (ours, _) = both(lambda: answering(202, too_large), OPERATIONS[:3])
    assert (type(ours), ours.status_code) == (type(theirs), 413)


@pytest.mark.parametrize("status", [400, 403, 404, 413, 500, 503])
def test_a_transaction_that_is_refused_as_a_whole_is_refused_as_by_the_sdk(status: int) -> None:
    body = b'{"odata.error":{"code":"TableNotFound","message":{"lang":"en-US","value":"No such table."}}}'
    (theirs, _), (ours, _) = both(lambda: answering(status, body, "application/json"), OPERATIONS[:3])
    assert isinstance(ours, HttpResponseError)
    assert told(ours) == told(theirs)


def told(outcome: Any) -> Any:
    if not isinstance(outcome, HttpResponseError):
        return outcome
    return (
        type(outcome),
        outcome.status_code,
        getattr(outcome, "index", None),
        vars(outcome).get("error_code"),
        str(outcome),
    )


def test_a_transaction_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = answering(202, batch(WITH_ETAG, CREATED, WITHOUT_ETAG))
    client = TransactionClient.from_connection_string(ACCOUNT, "LeadLedger", transport=transport)
    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", None)  # azure-core imports it from here
    results = client.submit_transaction(OPERATIONS[:3])
    assert [bool(result) for result in results] == [True, True, False]
