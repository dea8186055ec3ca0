"""The HTTP server: finds the function of a request, checks its key, calls it, and returns its answer."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from aiohttp import web

from devhost.errors import StartError
from devhost.functions import App, Function, HttpResult
from devhost.kestrel import BodyError, Limits, Server, read_body, refusal
from devhost.keys import Keys
from devhost.routes import Route, is_reserved, parse_route
from devhost.urls import encode, parameters, path_of

logger = logging.getLogger("devhost.http")

ADDRESS = "127.0.0.1"

KEY_HEADER = "x-functions-key"
KEY_PARAMETER = "code"

KEYLESS_ADMIN_PATHS = ("/admin/host/ping", "/admin/warmup", "/admin/instance/http-health")
HOME_PAGE = (
    "<!DOCTYPE html><title>Azure Functions</title><p>devhost in place of the Azure Functions host is running.</p>"
)

SENDABLE = re.compile(r"[\t\x20-\x7e]*")


@dataclass(frozen=True)
class Endpoint:
    """A function and its whole route with the prefix."""

    function: Function
    route: Route


class HttpServer:
    """Serves the app's HTTP functions on 127.0.0.1. `start` returns the port."""

    def __init__(
        self,
        app: App,
        route_prefix: str,
        keys: Keys,
        settings: Mapping[str, str],
        limits: Limits | None = None,
    ) -> None:
        self.endpoints = _endpoints(app, route_prefix)
        self._app = app
        self._keys = keys
        self._home_page = settings.get("AzureWebJobsDisableHomepage", "").lower() != "true"
        self._limits = limits or Limits()
        largest = settings.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "").strip()
        if largest.isdecimal():
            self._limits = replace(self._limits, body_bytes=int(largest))
        self._runner: web.ServerRunner | None = None

    async def start(self, port: int, drain_seconds: float) -> int:
        """Listen on a port (0 = a free one). Returns the port. Raises StartError if the port is taken."""
        self._runner = web.ServerRunner(Server(self._handle, self._limits), shutdown_timeout=drain_seconds)
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
        """Take no more requests. Running requests have `drain_seconds` to end."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if (status := refusal(request)) is not None:
            return _closing(status)
        target, question, query = request.raw_path.partition("?")
        path = path_of(target)
        url = f"http://{request.host}{encode(path)}{question}{query}"
        presented = _presented(request, url)
        if path.lower().startswith("/admin/"):
            return web.Response(status=self._admin(path.lower(), presented))
        endpoint, params = self._find(request.method, path)
        if endpoint is None:
            return self._home() if path == "/" else web.Response(status=404)
        function = endpoint.function
        if not self._keys.allows(function.auth_level, function.name, presented):
            return web.Response(status=401)
        try:
            body = await read_body(request, self._limits)
        except BodyError as error:
            return _failed(function, f"Exception binding parameter '{function.trigger['name']}': {error}")
        result = await self._app.invoke_http_async(
            function.name, request.method, url, headers=_headers(request), body=body, params=params
        )
        return _response(request, function, result)

    def _find(self, method: str, path: str) -> tuple[Endpoint | None, dict[str, str]]:
        """The first endpoint for this path and method, and its parameters. A wrong method is not found, as in the host."""
        for endpoint in self.endpoints:
            methods = endpoint.function.methods
            if methods and method not in methods:
                continue
            params = endpoint.route.match(path)
            if params is not None:
                return endpoint, params
        return None, {}

    def _admin(self, path: str, presented: str | None) -> int:
        """The status of a request to the host's own addresses. They need the master key; devhost serves none of them."""
        if path in KEYLESS_ADMIN_PATHS:
            return 200
        return {"admin": 404, "function": 403, "anonymous": 401}[self._keys.level(presented)]

    def _home(self) -> web.Response:
        return web.Response(text=HOME_PAGE, content_type="text/html") if self._home_page else web.Response(status=204)


def _endpoints(app: App, route_prefix: str) -> list[Endpoint]:
    """The endpoints of the app, the most specific route first."""
    endpoints = []
    for function in app.of_type("httpTrigger"):
        if is_reserved(function.route):
            why = "The specified route conflicts with one or more built in routes."
            logger.error("The '%s' function is in error: %s", function.name, why)
        else:
            endpoints.append(Endpoint(function, parse_route(f"{route_prefix}/{function.route}")))
    return sorted(endpoints, key=lambda endpoint: endpoint.route.order)


def _presented(request: web.BaseRequest, url: str) -> str | None:
    """The key in the header, if the header exists, even empty; else the first key in the query."""
    in_header = request.headers.get(KEY_HEADER)
    if in_header is not None:
        return in_header
    return next((value for name, value in parameters(url) if name.lower() == KEY_PARAMETER), None)


def _headers(request: web.BaseRequest) -> dict[str, str]:
    """The headers with lower-case names. Values of a repeated name are joined."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    return headers


def _closing(status: int) -> web.Response:
    response = web.Response(status=status)
    response.force_close()
    return response


def _failed(function: Function, why: str) -> web.Response:
    logger.error("%s failed: %s", function.name, why)
    return _closing(500)


def _response(request: web.BaseRequest, function: Function, result: HttpResult) -> web.Response:
    lines = [*result.headers.items(), *(("Set-Cookie", cookie) for cookie in result.cookies)]
    if not all(SENDABLE.fullmatch(text) for line in lines for text in line):
        return _failed(function, "Invalid non-ASCII or control character in header")
    response = web.Response(status=result.status, body=result.body)
    for name, value in result.headers.items():
        if name.lower() != "content-length":
            response.headers[name] = value
    for cookie in result.cookies:
        response.headers.add("Set-Cookie", cookie)
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    return response
