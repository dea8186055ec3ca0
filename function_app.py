"""The function app's triggers: decorators and translation, nothing else. What they do is in `leads/`."""

import gc

gc.disable()  # what is imported stays: looking through it for garbage, over and over, takes a twelfth of a cold start

import azure.functions as func

from leads.platform.libraries import load_less, quiet_libraries

load_less()

unusable: ImportError | None = None
try:
    from leads.pipeline.http import answer_health, answer_intake, answer_status
    from leads.platform.tracing import begin
except ImportError as error:  # the packages are for another Python, or missing
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
    """Take a lead: `/api/leads`, or `/api/leads/{offer}` with the offer that the address is for."""
    return answer_intake(req, begin(context.trace_context.trace_parent, req.headers.get("traceparent")))


@app.function_name("lead_status")
@app.route("status/{lead_id}", methods=["GET"])
def lead_status(req: func.HttpRequest) -> func.HttpResponse:
    """Where a lead stands; its own key, and no personal data."""
    return answer_status(req)


@app.function_name("report")
@app.route("report/{*path}", methods=MANAGING_METHODS)
def report(req: func.HttpRequest) -> func.HttpResponse:
    """Numbers for whoever has its key: the level report, without leads."""
    from leads.operations.http import answer_with_key

    return answer_with_key(req, "report")


@app.function_name("operate")
@app.route("operate/{*path}", methods=MANAGING_METHODS)
def operate(req: func.HttpRequest) -> func.HttpResponse:
    """Offers, leads and status for whoever has its key: the level operate, without personal data."""
    from leads.operations.http import answer_with_key

    return answer_with_key(req, "operate")


@app.function_name("manage")
@app.route("manage/{*path}", methods=MANAGING_METHODS)
def manage(req: func.HttpRequest) -> func.HttpResponse:
    """Everything for whoever has its key: the level personal, with personal data only where a setting allows it."""
    from leads.operations.http import answer_with_key

    return answer_with_key(req, "manage")


@app.function_name("signed_in")
@app.route("signed-in/{*path}", methods=MANAGING_METHODS, auth_level=func.AuthLevel.ANONYMOUS)
def signed_in(req: func.HttpRequest) -> func.HttpResponse:
    """The same for whom the platform has signed in with Entra ID, by their role; nothing for anybody else."""
    from leads.operations.http import answer_signed_in

    return answer_signed_in(req)


@app.function_name("console")
@app.route("console/{*path}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
def console(req: func.HttpRequest) -> func.HttpResponse:
    """The page in the browser: static files for anyone; its data comes from the functions above."""
    from leads.console.http import answer_console

    return answer_console(req)


@app.function_name("health")
@app.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def health(req: func.HttpRequest) -> func.HttpResponse:
    """Whether the app answers and has sound settings; without detail, because anyone may ask."""
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
    """Every minute: re-drive, raise alarms, probe, keep what the host gave up on, look after the rest."""
    from leads.app import get_app
    from leads.watch import tick

    tick.watch(get_app())


if unusable:
    from leads.platform.unusable import health_alone

    app = health_alone(unusable)
