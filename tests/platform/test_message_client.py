"""The client puts messages as the SDK does: each test calls both clients and compares."""

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from leads.platform.message_client import MessageClient
from tests.support.answering import Answering

KEY = "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
SAS = "QueueEndpoint=https://shop.queue.core.windows.net/;SharedAccessSignature=sv=2024-01-01&sig=a%2Bb%3D"
LOCAL = "DefaultEndpointsProtocol=http;AccountName=shop;AccountKey=c2VjcmV0;QueueEndpoint=http://127.0.0.1:10001/shop;"
TEXT = '{"name":"Zoë & <Åsa>","note":"a\\n]]>"}'
PUT = (
    b'<?xml version="1.0" encoding="utf-8"?><QueueMessagesList><QueueMessage><MessageId>5974b586</MessageId>'
    b"<InsertionTime>Fri, 09 Oct 2026 21:04:30 GMT</InsertionTime><ExpirationTime>Fri, 09 Oct 2026 21:04:30 GMT"
    b"</ExpirationTime><PopReceipt>YzQ4</PopReceipt><TimeNextVisible>Fri, 09 Oct 2026 23:29:20 GMT</TimeNextVisible>"
    b"</QueueMessage></QueueMessagesList>"
)
IGNORED = {"x-ms-client-request-id", "x-ms-date", "Authorization"}
"""They differ for each request. The signature depends on the others."""


def sent(kind: Any, connection_string: str, options: dict[str, Any], **times: Any) -> tuple[Any, ...]:
    transport = Answering(201, PUT, "application/xml")
    client = kind.from_connection_string(connection_string, "leads", transport=transport, **options)
    client.send_message(TEXT, **times)
    request = transport.request
    headers = {name: value for name, value in request.headers.items() if name not in IGNORED}
    return request.method, request.url, headers, request.content


@pytest.mark.parametrize("connection_string", [KEY, SAS, LOCAL], ids=["key", "sas", "local"])
@pytest.mark.parametrize("times", [{}, {"time_to_live": -1}, {"visibility_timeout": 60, "time_to_live": -1}])
def test_a_message_is_put_as_the_sdk_puts_it(connection_string: str, times: dict[str, int]) -> None:
    options = {"message_encode_policy": TextBase64EncodePolicy()}
    theirs, ours = (sent(kind, connection_string, options, **times) for kind in (QueueClient, MessageClient))
    assert ours == theirs


def test_a_text_that_is_not_encoded_is_the_same_text_in_xml() -> None:
    from xml.etree.ElementTree import fromstring

    theirs, ours = (sent(kind, KEY, {})[3] for kind in (QueueClient, MessageClient))
    assert fromstring(ours).findtext("MessageText") == fromstring(theirs).findtext("MessageText") == TEXT


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidInput"),
        (401, "InvalidAuthenticationInfo"),
        (403, "AuthenticationFailed"),
        (404, "QueueNotFound"),
        (409, "QueueBeingDeleted"),
        (413, "RequestBodyTooLarge"),
        (500, "InternalError"),
        (503, "ServerBusy"),
    ],
)
def test_what_storage_refuses_is_refused_as_by_the_sdk(status: int, code: str) -> None:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>No.</Message></Error>'.encode()
    told = []
    for kind in (QueueClient, MessageClient):
        transport: Any = Answering(status, body, "application/xml", {"x-ms-error-code": code})
        client = kind.from_connection_string(KEY, "leads", transport=transport, retry_total=0)
        with pytest.raises(HttpResponseError) as raised:
            client.send_message(TEXT)
        error = raised.value
        told.append((type(error), error.status_code, vars(error).get("error_code"), str(error)))
    assert told[1] == told[0]
