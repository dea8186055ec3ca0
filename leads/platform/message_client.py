"""A queue client that puts a message with a third of the SDK's processor time.

azure-storage-queue 12.18.1 builds models of request and answer, and converts each field. This client writes the XML element of
a message as text (Microsoft Learn, "Put Message"). It reads only the status of the answer, because the app does not use the new
message's id, receipt or times.
"""

from html import escape
from typing import Any, Final

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    map_error,
)
from azure.core.rest import HttpRequest, HttpResponse
from azure.storage.queue import QueueClient
from azure.storage.queue._shared.response_handlers import process_storage_error

_MESSAGE: Final = "<?xml version='1.0' encoding='utf-8'?>\n<QueueMessage><MessageText>{}</MessageText></QueueMessage>"
_ERRORS: Final[Any] = {401: ClientAuthenticationError, 404: ResourceNotFoundError, 409: ResourceExistsError}


class MessageClient(QueueClient):
    """The SDK's queue client, whose `send_message` returns nothing: the same request and errors."""

    def send_message(  # type: ignore[override]
        self, content: str, *, visibility_timeout: int | None = None, time_to_live: int | None = None
    ) -> None:
        text = escape(self._message_encode_policy(content), quote=False)
        times = {"visibilitytimeout": visibility_timeout, "messagettl": time_to_live}
        request = HttpRequest(
            "POST",
            "/messages",
            params={name: str(seconds) for name, seconds in times.items() if seconds is not None},
            headers={
                "Content-Type": "application/xml",
                "x-ms-version": self._client._config.version,
                "Accept": "application/xml",
            },
            content=_MESSAGE.format(text).encode(),
        )
        request.url = self._client._client.format_url(request.url, url=self._client._config.url)
        try:
            _raise_refusal(self._client._client.send_request(request))
        except HttpResponseError as error:
            process_storage_error(error)


def _raise_refusal(response: HttpResponse) -> None:
    if response.status_code != 201:
        map_error(response.status_code, response, _ERRORS)
        raise HttpResponseError(response=response)
