"""The HTTP side: routes, methods, keys, and the way from a request to an invocation and back."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from devhost.errors import StartError
from devhost.keys import Keys
from devhost.routes import Route, parse_route
from devhost.runtime import Function, HttpResult, LoadedApp, query_of

ADDRESS = "127.0.0.1"

# ScriptConstants.DefaultMaxRequestBodySize of Azure/azure-functions-host.
MAX_BODY_BYTES = 104_857_600

KEY_HEADER = "x-functions-key"
KEY_PARAMETER = "code"


@dataclass(frozen=True)
class Endpoint:
    """A function and its whole route, prefix included."""

    function: Function
    route: Route


class HttpServer:
    """Serves the app's HTTP functions on 127.0.0.1. `start` returns the port."""

    def __init__(self, app: LoadedApp, route_prefix: str, keys: Keys) -> None:
        endpoints = [
            Endpoint(function, parse_route(f"{route_prefix}/{function.route}"))
            for function in app.of_type("httpTrigger")
        ]
        self.endpoints = sorted(endpoints, key=lambda endpoint: endpoint.route.order)
        self._app = app
        self._keys = keys
        self._runner: web.ServerRunner | None = None

    async def start(self, port: int, drain_seconds: float) -> int:
        """Listen (0 takes a free port). Raises StartError where the port is taken."""
        # Kestrel leaves an encoded body as it is.
        server = web.Server(self._handle, request_factory=_request, auto_decompress=False)
        self._runner = web.ServerRunner(server, access_log=None, shutdown_timeout=drain_seconds)
        await self._runner.setup()
        site = web.TCPSite(self._runner, ADDRESS, port)
        try:
            await site.start()
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise StartError(
                f"port {port} cannot be used ({errno.errorcode[error.errno]}): "
                "choose another one with --port, or --port 0 for a free one"
            ) from None
        address: tuple[str, int] = self._runner.addresses[0]
        return address[1]

    async def stop(self) -> None:
        """Take no more requests and give running ones the seconds that `start` was told."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = _headers(request)
        if headers is None or "%00" in request.raw_path:  # Kestrel takes neither
            return web.Response(status=400)
        endpoint, params = self._find(request.method, request.raw_path.partition("?")[0])
        if endpoint is None:
            return web.Response(status=404)
        function = endpoint.function
        url = f"http://{request.host}{request.raw_path}"
        presented = headers.get(KEY_HEADER) or query_of(url).get(KEY_PARAMETER)
        if not self._keys.allows(function.auth_level, function.name, presented):
            return web.Response(status=401)
        try:
            body = await _body(request)
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413)
        result = await self._app.invoke_http_async(
            function.name, request.method, url, headers=headers, body=body, params=params
        )
        return _response(result)

    def _find(self, method: str, path: str) -> tuple[Endpoint | None, dict[str, str]]:
        """The first endpoint for this path and method: as in the host, a wrong method is not found."""
        for endpoint in self.endpoints:
            methods = endpoint.function.methods
            if methods and method not in methods:
                continue
            params = endpoint.route.match(path)
            if params is not None:
                return endpoint, params
        return None, {}


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)


async def _body(request: web.BaseRequest) -> bytes:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, request.content_length or 0)
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await request.read()


def _headers(request: web.BaseRequest) -> dict[str, str] | None:
    """Lower-case names, repeated ones joined; None where a value is not UTF-8."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            return None
        key = name.lower()
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    return headers


def _response(result: HttpResult) -> web.Response:
    response = web.Response(status=result.status, body=result.body)
    for name, value in result.headers.items():
        if name.lower() != "content-length":
            response.headers[name] = value
    for cookie in result.cookies:
        response.headers.add("Set-Cookie", cookie)
    return response
