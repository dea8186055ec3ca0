"""A transport of the Azure SDK that sends nothing, keeps the last request, and gives each request the same answer."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import requests
import urllib3
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest._requests_basic import RestRequestsTransportResponse


class Answering(RequestsTransport):  # type: ignore[misc]
    def __init__(self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.request: Any = None
        self._status = status
        self._body = body
        self._headers = {"Content-Type": content_type, **(headers or {})}

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        del options
        self.request = request
        answer = requests.Response()
        answer.status_code = self._status
        answer.headers.update(self._headers)
        answer.raw = urllib3.HTTPResponse(BytesIO(self._body), status=self._status, preload_content=False)
        made: Any = RestRequestsTransportResponse
        response = made(request=request, internal_response=answer)
        if not stream:
            response.read()
        return response
