"""What would be sent to an environment that knows nothing of the customer yet."""

from typing import Final

from leads.destinations.http import Answer
from leads.destinations.rest import ApiRequest, PreviewingClient
from leads.destinations.vendors.dataverse.client import Client, multipart

_NO_ROWS: Final = b'Content-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{"value": []}'


class PreviewClient(PreviewingClient, Client):
    """Answers as Dynamics does where all goes well."""

    def note(self, request: ApiRequest) -> str:
        if any(part.method == "GET" for part in request.parts):
            return "Looks for an existing record. The next request is sent if no record is found."
        return ""

    def answer(self, request: ApiRequest) -> Answer:
        headers = {"content-type": "multipart/mixed; boundary=preview"}
        return Answer(200, headers, multipart("preview", [_NO_ROWS for _ in request.parts]))
