"""The HTTP answers of intake, status and health. Errors are problem+json (RFC 9457)."""

import json
import re
from datetime import timedelta
from typing import Any, Final

import azure.functions as func

from leads.app import get_app
from leads.core import clock
from leads.core.identity import NO_PART_OF_AN_ID, is_lead_id, received_at_of
from leads.core.lead_parsing import UnreadableLead
from leads.core.problems import code_location
from leads.pipeline.intake import MAX_BODY_BYTES, BodyTooLarge, KeptUnreadable, accept
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.settings import SettingsError
from leads.platform.storage import StorageError

INTAKE_SECONDS: Final = 4.8
"""The time limit of an intake request: a sender gets its answer within five seconds, even if storage hangs."""
STATUS_SECONDS: Final = 10.0
RETRY_AFTER_SECONDS: Final = 30
UNKNOWN_UNTIL: Final = timedelta(minutes=15)
"""How long an unknown lead id counts as waiting, because the lead may still be on the queue."""

USER_AGENT_CHARACTERS: Final = 100
"""Most characters of a sender's User-Agent that are logged."""
_SCHEMES: Final = frozenset({"https", "http"})
_PLAIN_WORD: Final = re.compile("[!-?A-~]+")

LENGTH_IS_REQUIRED: Final = (
    "The lead is not stored: it came without a Content-Length (Transfer-Encoding: chunked), and the platform passes no such "
    "body to the app. Send it again with a Content-Length. HTTP clients set this header if they get the body as a whole, not as "
    "a stream. Or let a gateway in between buffer the body."
)
NOT_STORED: Final = "The lead could not be stored. Send it again."
ABOUT_INTAKE: Final = """\
This is the lead intake of a Microsoft commercial marketplace publisher.

Paste this whole address, with its key, as the HTTPS endpoint URL under Offer setup > Customer leads in Partner Center.
Leads are POSTed here as JSON; a 202 answer means that the lead is stored and will be delivered.
"""
FOR_EVERY_OFFER: Final = "For a single offer, add its id to the path, such as /api/leads/contoso.crm?code=...\n"
FOR_ONE_OFFER: Final = (
    "Its leads are of the offer {}. The command `leads offers list` shows whether that offer is configured.\n"
)


def answer_intake(req: func.HttpRequest, traceparent: str) -> func.HttpResponse:
    """Answer a request on the intake address, within `INTAKE_SECONDS`.

    If a lead can't be stored for any reason, the answer is 503, so that the sender sends it again.
    """
    try:
        with deadline.within(INTAKE_SECONDS):
            return _answer_intake(req, traceparent)
    except Exception as error:  # noqa: BLE001
        emit(Event.INTAKE_UNAVAILABLE, traceparent, why=code_location(error))
        return _unavailable(NOT_STORED)


def _answer_intake(req: func.HttpRequest, traceparent: str) -> func.HttpResponse:
    if req.method in {"GET", "HEAD"}:
        offer = url_offer(req)
        about = ABOUT_INTAKE + (FOR_ONE_OFFER.format(offer) if offer else FOR_EVERY_OFFER)
        return func.HttpResponse(about, mimetype="text/plain", headers={"Cache-Control": "no-store"})
    if req.method != "POST":
        return problem(
            405,
            "Method not allowed",
            f"Leads are sent with POST, not {req.method}.",
            headers={"Allow": "POST, GET, HEAD"},
        )
    try:
        receipt = accept(get_app().incoming, req.get_body(), url_offer(req), traceparent)
    except BodyTooLarge:
        return problem(413, "The body is too large", f"A lead may have up to {MAX_BODY_BYTES} bytes.", field="body")
    except KeptUnreadable as kept:
        return _unreadable(kept.why, {"lead_id": kept.lead_id})
    except UnreadableLead as why:
        return _without_body(req, why)
    except (StorageError, SettingsError) as error:
        emit(Event.INTAKE_UNAVAILABLE, why=type(error).__name__)
        return _unavailable(NOT_STORED)
    status_url = f"{base_address(req, get_app().settings.host_name)}/api/status/{receipt.lead_id}"
    return _json(202, {"lead_id": receipt.lead_id, "status_url": status_url})


def _without_body(req: func.HttpRequest, why: UnreadableLead) -> func.HttpResponse:
    """Answer a request without a body. The host passes a body without a length as empty (azure-functions-host issue 4926)."""
    has_no_length = not req.get_body() and bool(req.headers.get("transfer-encoding"))
    event = Event.BODY_WITHOUT_LENGTH if has_no_length else Event.BODY_EMPTY
    user_agent = plain_words(req.headers.get("user-agent", ""))
    emit(event, user_agent=user_agent)
    try:
        get_app().intake.empty_bodies.note(event, user_agent)
    except (StorageError, SettingsError) as error:
        emit(Event.STORAGE_UNAVAILABLE, what="empty bodies", why=type(error).__name__)
    if has_no_length:
        return problem(411, "A length is required", LENGTH_IS_REQUIRED, field="Content-Length")
    return _unreadable(why, {})


def plain_words(text: str) -> str:
    """The beginning of a header. Words that may have an e-mail address or special characters become `***`."""
    words = (word if _PLAIN_WORD.fullmatch(word) and "%40" not in word else "***" for word in text[:1000].split())
    return " ".join(words)[:USER_AGENT_CHARACTERS]


def _unreadable(why: UnreadableLead, kept_as: dict[str, str]) -> func.HttpResponse:
    return problem(why.status, why.title, why.detail, field="body", more=kept_as)


def answer_health() -> func.HttpResponse:
    """Answer whether the settings are right. No network I/O and no detail, because anyone may ask."""
    try:
        get_app()
    except SettingsError as error:
        emit(Event.SETTINGS_WRONG, problem=str(error))
        return _json(
            503, {"status": "an app setting is wrong: leads doctor names it, as does settings_wrong in the log"}
        )
    return _json(200, {"status": "ok"})


def answer_status(req: func.HttpRequest) -> func.HttpResponse:
    """Answer with the state of a lead at each destination, and nothing about the customer."""
    try:
        return _answer_status(req)
    except Exception as error:  # noqa: BLE001
        return failed("status", error)


def failed(what: str, error: Exception) -> func.HttpResponse:
    """The answer 500 for a fault of the app, without detail. An event has the place in the code."""
    emit(Event.REQUEST_FAILED, what=what, why=code_location(error))
    says = "The app failed to answer. Its log says where: event request_failed."
    return problem(500, "The app failed", says, headers={"Cache-Control": "no-store"})


def _answer_status(req: func.HttpRequest) -> func.HttpResponse:
    lead_id = req.route_params.get("lead_id", "")
    if not is_lead_id(lead_id):
        return problem(404, "No such lead", "The id in the address is not a lead id.", field="lead_id")
    try:
        with deadline.within(STATUS_SECONDS):
            record = get_app().ledger.read(lead_id)
    except (StorageError, SettingsError) as error:
        emit(Event.STORAGE_UNAVAILABLE, what="status", why=type(error).__name__)
        return _unavailable("The lead could not be looked up. Ask again.")
    if record is not None:
        return _json(200, status_of(record))
    if abs(clock.now() - received_at_of(lead_id)) < UNKNOWN_UNTIL:  # either way: clocks differ
        return _json(200, {"lead_id": lead_id, "state": "waiting", "destinations": {}})
    return problem(404, "No such lead", "No lead of this id is known.", field="lead_id")


def status_of(record: Any) -> dict[str, Any]:
    """A lead's state without personal data."""
    return {
        "lead_id": record.lead_id,
        "state": record.state.value,
        "offer": record.offer,
        "received_at": record.received_at.isoformat(),
        "destinations": {
            name: {
                "state": delivery.state.value,
                "attempts": len(delivery.attempts),
                "next_at": delivery.next_at.isoformat() if delivery.next_at else None,
                **({"unconfirmed": True} if delivery.unconfirmed else {}),
                **({"duplicate_of": delivery.duplicate_of} if delivery.duplicate_of else {}),
            }
            for name, delivery in record.deliveries.items()
            if name
        },
    }


def url_offer(req: func.HttpRequest) -> str:
    """The offer that the address names, without surplus slashes and dots.

    The host removes `.` and `..` from a path, but not doubled slashes, and not dots beside an encoded slash: ASP.NET Core leaves
    `%2F` as it is in a catch-all parameter.
    """
    parts = (req.route_params.get("offer") or "").replace("%2F", "/").replace("%2f", "/").split("/")
    name = "/".join(part for part in parts if part.strip() not in NO_PART_OF_AN_ID).strip()
    return name.encode(errors="replace").decode()  # a lone surrogate could not be stored


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    field: str = "",
    more: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> func.HttpResponse:
    """A problem+json answer. `field`: the wrong field. `more`: further members."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body |= ({"field": field} if field else {}) | (more or {})
    return func.HttpResponse(json.dumps(body), status_code=status, mimetype="application/problem+json", headers=headers)


def _unavailable(detail: str) -> func.HttpResponse:
    """The answer 503 with `Retry-After` and without the reason, because anyone may be the caller."""
    return problem(503, "Temporarily unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _json(status: int, body: dict[str, Any]) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(body), status_code=status, mimetype="application/json")


def base_address(req: func.HttpRequest, host_name: str) -> str:
    """The app's base address: by its host name, else by the request's host, which a caller can forge.

    A host name without a port is the platform's, which uses https. A host name with a port belongs to local tools.
    """
    if host_name and ":" not in host_name:
        return f"https://{host_name}"
    scheme, _, rest = req.url.partition("://")
    forwarded = req.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return f"{forwarded if forwarded in _SCHEMES else scheme}://{host_name or rest.partition('/')[0]}"
