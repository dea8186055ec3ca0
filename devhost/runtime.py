"""Loads and invokes a function app through Microsoft's own worker library, azure-functions-runtime.

The library keeps its registry, protocol classes and thread pool in its modules: one app a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import sys
import threading
import types
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import azure_functions_runtime as worker  # type: ignore[import-untyped]
from azure_functions_runtime.bindings.datumdef import Datum  # type: ignore[import-untyped]
from azure_functions_runtime.native_invocation import invocation_request_native  # type: ignore[import-untyped]

from devhost.errors import StartError
from devhost.functions import App, Function, HttpResult, InvocationResult
from devhost.urls import query_of

P = ParamSpec("P")
T = TypeVar("T")

SUPPORTED_BINDINGS = ("httpTrigger", "http", "queueTrigger", "timerTrigger")

_running: dict[str, str] = {}
"""The function's name by the id of each running invocation."""


def _protocol_class(name: str, **constants: int) -> type:
    return type(name, (types.SimpleNamespace,), constants)


# The library answers in the protocol's message classes, which it gets from its host. These classes replace them.
PROTOCOL = types.SimpleNamespace(
    BindingInfo=_protocol_class("BindingInfo", undefined=0, out=1, inout=2),
    FunctionMetadataResponse=_protocol_class("FunctionMetadataResponse"),
    RpcException=_protocol_class("RpcException"),
    RpcFunctionMetadata=_protocol_class("RpcFunctionMetadata"),
    RpcRetryOptions=_protocol_class("RpcRetryOptions"),
    StatusResult=_protocol_class("StatusResult", Failure=0, Success=1),
    WorkerInitResponse=_protocol_class("WorkerInitResponse"),
    WorkerMetadata=_protocol_class("WorkerMetadata"),
)


def current_function() -> str | None:
    """The name of the function whose invocation runs in this thread, for log lines; None outside an invocation."""
    return _running.get(worker.invocation_id_cv.get() or "")


def _blocking(
    method: Callable[Concatenate[LoadedApp, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[LoadedApp, P], T]:
    @wraps(method)
    def call(app: LoadedApp, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run_coroutine_threadsafe(method(app, *args, **kwargs), app._loop).result()

    return call


class LoadedApp(App):
    """A loaded app. Each `invoke_…_async` has a blocking twin `invoke_…`, safe to call from many threads."""

    def __init__(self, functions: Mapping[str, Function], function_timeout: float | None) -> None:
        self.functions = dict(functions)
        self._function_timeout = function_timeout

    async def invoke_http_async(
        self,
        name: str,
        method: str = "POST",
        url: str = "http://localhost/",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        params: Mapping[str, str] | None = None,
    ) -> HttpResult:
        """Call an HTTP function. `params`: the route's parameters. The query is taken from `url`.

        A function that fails gives an empty 500. As in the host, header names are in lower case.
        """
        sent = {key.lower(): value for key, value in (headers or {}).items()}
        request = {
            "method": _text(method),
            "url": _text(url),
            "headers": {key: _text(value) for key, value in sent.items()},
            "query": {key: _text(value) for key, value in query_of(url).items()},
            "params": {key: _text(value) for key, value in (params or {}).items()},
            "body": Datum(body, "bytes"),
        }
        result, returned = await self._invoke(name, Datum(request, "http"), {})
        return _http_result(returned) if result.ok else HttpResult(500)

    async def invoke_queue_async(
        self,
        name: str,
        text: str | bytes,
        *,
        message_id: str | None = None,
        dequeue_count: int = 1,
        pop_receipt: str = "",
        inserted_on: datetime | None = None,
        expires_on: datetime | None = None,
        next_visible_on: datetime | None = None,
    ) -> InvocationResult:
        """Call a queue function with a decoded message text."""
        now = datetime.now(UTC).replace(microsecond=0)
        metadata = {
            "Id": _text(message_id or str(uuid.uuid4())),
            "PopReceipt": _text(pop_receipt),
            "DequeueCount": Datum(str(dequeue_count), "json"),
            "InsertionTime": _time(inserted_on or now),
            "ExpirationTime": _time(expires_on or now + timedelta(days=7)),
            "NextVisibleTime": _time(next_visible_on or now + timedelta(minutes=10)),
        }
        body = Datum(text, "string" if isinstance(text, str) else "bytes")
        return (await self._invoke(name, body, metadata))[0]

    async def invoke_timer_async(self, name: str, past_due: bool = False) -> InvocationResult:
        """Call a timer function."""
        return (await self._invoke(name, Datum(json.dumps({"IsPastDue": past_due}), "json"), {}))[0]

    invoke_http = _blocking(invoke_http_async)
    invoke_queue = _blocking(invoke_queue_async)
    invoke_timer = _blocking(invoke_timer_async)

    async def _invoke(
        self, name: str, data: Datum, metadata: dict[str, Datum]
    ) -> tuple[InvocationResult, Datum | None]:
        function = self.functions[name]
        invocation = str(uuid.uuid4())
        _running[invocation] = name
        inputs = [(function.trigger["name"], data)]
        call = asyncio.create_task(_call(invocation, function, inputs, metadata))
        call.add_done_callback(lambda _: _running.pop(invocation, None))
        # A thread cannot be ended: after the time limit the call continues, but its outcome is ignored.
        done, _ = await asyncio.wait([call], timeout=self._function_timeout)
        if not done:
            error = f"functionTimeout of {self._function_timeout:g} s exceeded"
            logging.getLogger("devhost").error("%s: %s", name, error)
            return InvocationResult(False, error), None
        ok, returned, _, exception, _ = call.result()
        return InvocationResult(ok, exception or ""), returned

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="invocations", daemon=True).start()
        return loop


_loaded: tuple[Path, LoadedApp] | None = None


def load_app(app_dir: str | Path, function_timeout: float | None = None) -> LoadedApp:
    """Import and index `app_dir`/function_app.py. A second call for the same folder returns the same app.

    `function_timeout`: in seconds, None = unlimited. Raises StartError if the app does not load, uses a binding that devhost does
    not support, or if this process has loaded another app before.
    """
    global _loaded
    folder = Path(app_dir).resolve()
    if _loaded is not None:
        if _loaded[0] != folder:
            raise StartError(f"this process has loaded {_loaded[0]}: use another process for {folder}")
        return _loaded[1]
    if not (folder / "function_app.py").is_file():
        raise StartError(f"no function_app.py in {folder}: name the folder of the app with --app-dir")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    functions = asyncio.run(_index(folder))
    if not functions:
        raise StartError("function_app.py declares no function: decorate at least one")
    app = LoadedApp(functions, function_timeout)
    _loaded = (folder, app)
    return app


async def _call(
    invocation: str,
    function: Function,
    inputs: list[tuple[str, Datum]],
    metadata: dict[str, Datum],
) -> tuple[bool, Datum | None, list[tuple[str, Datum]], str | None, str | None]:
    # The library sets this only while the function runs, but it reports an exception afterwards.
    worker.invocation_id_cv.set(invocation)
    answer: tuple[bool, Datum | None, list[tuple[str, Datum]], str | None, str | None]
    answer = await invocation_request_native(invocation, function.id, inputs, metadata)
    return answer


async def _index(folder: Path) -> dict[str, Function]:
    worker.start_threadpool_executor()
    request = types.SimpleNamespace(worker_init_request=types.SimpleNamespace(capabilities={}))
    request.worker_init_request.function_app_directory = str(folder)
    with _quiet_library():
        answer = await worker.worker_init_request(
            types.SimpleNamespace(request=request, properties={"host": "127.0.0.1", "protos": PROTOCOL})
        )
    if answer.result.status != PROTOCOL.StatusResult.Success:
        raise StartError(f"function_app.py does not load: {_fault(answer.result.exception, folder)}")
    metadata = await worker.functions_metadata_request(None)
    found = metadata.function_metadata_results or []
    return {function.name: _function(function) for function in found}


def _function(metadata: Any) -> Function:
    bindings = tuple(json.loads(binding) for binding in metadata.raw_bindings)
    for binding in bindings:
        if binding["type"] not in SUPPORTED_BINDINGS:
            raise StartError(
                f"function {metadata.name}: devhost has no {binding['type']} binding; "
                "run this app with Azure Functions Core Tools"
            )
    return Function(metadata.name, metadata.function_id, bindings)


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """Silence the library while it loads the app. It logs whole search paths if an import fails; StartError has one line."""
    logger = logging.getLogger("azure.functions")
    before = logger.level
    if not logging.getLogger("devhost").isEnabledFor(logging.DEBUG):
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _fault(exception: Any, folder: Path) -> str:
    message = " ".join(exception.message.split(". Cannot find module. ")[0].split())
    places = re.findall(r'File "([^"]+)", line (\d+)', exception.stack_trace)
    own = [f"{Path(file).relative_to(folder)} line {line}" for file, line in places if _inside(file, folder)]
    return f"{message} ({own[-1]})" if own else message


def _inside(file: str, folder: Path) -> bool:
    return Path(file).is_relative_to(folder) and "site-packages" not in file


def _text(value: str) -> Datum:
    return Datum(value, "string")


def _time(moment: datetime) -> Datum:
    return Datum(json.dumps(moment.isoformat()), "json")


def _http_result(returned: Datum | None) -> HttpResult:
    if returned is None:
        return HttpResult(204)
    if returned.type == "string":
        return HttpResult(200, {"content-type": "text/plain; charset=utf-8"}, returned.value.encode())
    value = returned.value
    return HttpResult(
        int(value["status_code"].value),
        {name: datum.value for name, datum in value["headers"].items()},
        value["body"].value,
        tuple(morsel.OutputString() for jar in value["cookies"] or () for morsel in jar.values()),
    )
