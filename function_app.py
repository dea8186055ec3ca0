"""The triggers of the function app. Each translates its request for a function in `leads/`."""

import gc

gc.disable()  # imported objects are no garbage: collecting during the imports takes a twelfth of a cold start

import azure.functions as func

from leads.platform.libraries import load_less, quiet_libraries

load_less()

unusable: ImportError | None = None
try:
    # Cold start: the deeper an import, the more often calls cross the end of a chunk of Python's stack, and each time memory is
    # mapped and unmapped. From here the stack is short.
    import azure.storage.queue  # noqa: F401
    import pydantic.main  # noqa: F401

    from leads.pipeline.http import answer_health, answer_intake, answer_status
    from leads.platform.tracing import begin
except ImportError as error:  # packages are missing, or built for another Python
    unusable = error
else:
    quiet_libraries()

gc.freeze()
gc.enable()

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
MANAGING_METHODS = ["GET", "PUT", "POST", "DELETE"]


@app.function_name("accept_lead")
@app.route("leads/{*offer}", methods=ALL_METHODS)
def accept_lead(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Accept a lead at `/api/leads`, or at `/api/leads/{offer}` for one offer."""
    return answer_intake(req, begin(context.trace_context.trace_parent, req.headers.get("traceparent")))


@app.function_name("lead_status")
@app.route("status/{lead_id}", methods=["GET"])
def lead_status(req: func.HttpRequest) -> func.HttpResponse:
    """Answer with the state of a lead, without personal data. The function has its own key."""
    return answer_status(req)


@app.function_name("report")
@app.route("report/{*path}", methods=MANAGING_METHODS)
def report(req: func.HttpRequest) -> func.HttpResponse:
    """Operations of the level report, for callers with this function's key: numbers, no leads."""
    from leads.operations.http import answer_with_key

    return answer_with_key(req, "report")


@app.function_name("operate")
@app.route("operate/{*path}", methods=MANAGING_METHODS)
def operate(req: func.HttpRequest) -> func.HttpResponse:
    """Operations of the level operate, for callers with this function's key: no personal data."""
    from leads.operations.http import answer_with_key

    return answer_with_key(req, "operate")


@app.function_name("manage")
@app.route("manage/{*path}", methods=MANAGING_METHODS)
def manage(req: func.HttpRequest) -> func.HttpResponse:
    """All operations, for callers with this function's key. Personal data only if a setting allows it."""
    from leads.operations.http import answer_with_key

    return answer_with_key(req, "manage")


@app.function_name("signed_in")
@app.route("signed-in/{*path}", methods=MANAGING_METHODS, auth_level=func.AuthLevel.ANONYMOUS)
def signed_in(req: func.HttpRequest) -> func.HttpResponse:
    """The operations of the caller's app role, for callers that the platform has signed in with Entra ID."""
    from leads.operations.http import answer_signed_in

    return answer_signed_in(req)


@app.function_name("console")
@app.route("console/{*path}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
def console(req: func.HttpRequest) -> func.HttpResponse:
    """The static files of the console, for anyone. Its data comes from the functions above."""
    from leads.console.http import answer_console

    return answer_console(req)


@app.function_name("health")
@app.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def health(req: func.HttpRequest) -> func.HttpResponse:
    """Answer whether the app works and its settings are right, without detail, because anyone may ask."""
    return answer_health()


@app.function_name("deliver_lead")
@app.queue_trigger("message", "leads", connection="LeadsStorage")
def deliver_lead(message: func.QueueMessage) -> None:
    """Deliver one message of the queue."""
    from leads.app import get_app
    from leads.core.messages import Reception
    from leads.pipeline.delivery import deliver

    reception = Reception(message.id or "", message.dequeue_count or 1)
    deliver(get_app(), message.get_body().decode(), reception)


@app.function_name("watch")
@app.timer_trigger(schedule="0 * * * * *", arg_name="timer", run_on_startup=False, use_monitor=False)
def watch(timer: func.TimerRequest) -> None:
    """Each minute, re-drive leads, raise alarms, probe connections, drain the poison queue, and do the housekeeping."""
    from leads.app import get_app
    from leads.watch import tick

    tick.watch(get_app())


if unusable:
    from leads.platform.unusable import health_alone

    app = health_alone(unusable)
