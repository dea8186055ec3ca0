"""The sample app of devhost's tests. It does what its input says, and reports to the tests' recorder.

The setting RECORDER is the address of the recorder.
"""

import contextvars
import functools
import importlib
import json
import logging
import os
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

import azure.functions as func

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


def record(event: str, **details: object) -> None:
    body = json.dumps({"event": event, "pid": os.getpid(), **details}).encode()
    with urllib.request.urlopen(urllib.request.Request(os.environ["RECORDER"], body), timeout=60):
        pass


@functools.cache
def queue() -> "QueueClient":
    # Imported only here, because it takes half of the start's time.
    from azure.storage.queue import QueueClient, TextBase64EncodePolicy

    return QueueClient.from_connection_string(
        os.environ["LeadsStorage"],  # noqa: SIM112
        os.environ["WORK_QUEUE"],
        message_encode_policy=TextBase64EncodePolicy(),
    )


@app.route(route="echo/{*rest}", methods=["POST", "GET"], auth_level=func.AuthLevel.ANONYMOUS)
def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = {
        "method": req.method,
        "url": req.url,
        "params": dict(req.params),
        "route": dict(req.route_params),
        "headers": dict(req.headers),
        "length": len(req.get_body()),
        "trace": context.trace_context.trace_parent,
    }
    headers = {"X-Echo": "yes", "Set-Cookie": "a=b; Path=/"}
    return func.HttpResponse(json.dumps(seen), status_code=202, mimetype="application/json", headers=headers)


@app.route(route="things/{name}", methods=["GET", "HEAD"])
def thing(req: func.HttpRequest) -> str:
    return str(req.route_params["name"])


@app.route(route="things/{name}/parts/{part?}", methods=["GET"])
async def parts(req: func.HttpRequest) -> str:
    return str(req.route_params.get("part", "no part"))


@app.route(route="things/special", methods=["GET"])
def special(req: func.HttpRequest) -> str:
    return "special"


@app.route(route="master-only", auth_level=func.AuthLevel.ADMIN)
def master_only(req: func.HttpRequest) -> str:
    return "master"


@app.route(route="fail", auth_level=func.AuthLevel.ANONYMOUS)
def fail(req: func.HttpRequest) -> str:
    raise ValueError("as asked")


@app.route(route="slow", auth_level=func.AuthLevel.ANONYMOUS)
def slow(req: func.HttpRequest) -> str:
    record("slow began")
    time.sleep(float(req.params["seconds"]))
    return "done"


@app.route(route="log", auth_level=func.AuthLevel.ANONYMOUS)
def log(req: func.HttpRequest) -> str:
    library = logging.getLogger("a_library")
    library.info("at INFO")
    library.debug("at DEBUG")
    foreign = threading.Thread(target=library.warning, args=("of a thread of no invocation",))
    foreign.start()
    foreign.join()
    ours = contextvars.copy_context()
    with_context = threading.Thread(target=ours.copy().run, args=(library.info, "of a thread with its context"))
    with_context.start()
    with_context.join()
    threading.Timer(1, ours.run, (library.warning, "after the end of the invocation")).start()
    logging.getLogger("sample").warning('event=something {"name": "value"}')
    try:
        int("none")
    except ValueError:
        logging.getLogger("sample").exception("it failed")
    return "logged"


@app.route(route="put", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
def put(req: func.HttpRequest) -> func.HttpResponse:
    queue().send_message(req.get_body().decode(), visibility_timeout=int(req.params.get("delay", "0")))
    return func.HttpResponse(status_code=202)


@app.route(route="time", auth_level=func.AuthLevel.ANONYMOUS)
def time_of_app(req: func.HttpRequest) -> str:
    clock, ledger = importlib.import_module("leads.core.clock"), importlib.import_module("leads.ledger.transactions")
    return json.dumps({"now": clock.now().timestamp(), "claim_lease_seconds": ledger.CLAIM_LEASE_SECONDS})


@app.queue_trigger(arg_name="msg", queue_name="%WORK_QUEUE%", connection="LeadsStorage")
def work(msg: func.QueueMessage) -> None:
    """Its message is {"name": …, "seconds": …, "first_seconds": …, "fail": …, "crash": …}, all but `name` optional."""
    task = json.loads(msg.get_body())
    logging.getLogger("sample").info("working on %s", task["name"])
    facts = {"id": msg.id, "count": msg.dequeue_count, "expires": str(msg.expiration_time), "receipt": msg.pop_receipt}
    record("began", name=task["name"], **facts)
    time.sleep(task.get("first_seconds", task.get("seconds", 0)) if msg.dequeue_count == 1 else task.get("seconds", 0))
    if task.get("crash"):
        os._exit(3)
    if task.get("fail"):
        raise RuntimeError("as asked")
    record("ended", name=task["name"])


@app.timer_trigger(arg_name="timer", schedule="%TICK_SCHEDULE%")
def tick(timer: func.TimerRequest) -> None:
    record("tick", past_due=timer.past_due)
    time.sleep(float(os.environ.get("TICK_SECONDS", "0")))
    record("tick ended")
