"""The management API: the operations of `leads.api` over HTTP, JSON in and out, problem+json for what is wrong."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import azure.functions as func
from pydantic import TypeAdapter, ValidationError

from leads import api
from leads.app import get_app
from leads.events import Event, emit
from leads.http import RETRY_AFTER_SECONDS, problem
from leads.offers import InvalidOffer, OfferChanged
from leads.problems import first_problem
from leads.settings import SettingsError
from leads.storage import StorageError

NO_STORE: Final = {"Cache-Control": "no-store"}
_KEY_PARAMETERS: Final = frozenset({"code", "clientid"})
"""What the Functions host itself reads from the query (Microsoft Learn, "Work with access keys in Azure Functions")."""


def _index(_: func.HttpRequest) -> func.HttpResponse:
    return _json([{"method": r.method, "path": f"/api/manage{r.path}", "does": r.does} for r in ROUTES], "routes")


def _list_offers(_: func.HttpRequest) -> func.HttpResponse:
    return _json(api.list_offers(get_app()), "offers")


def _show_offer(_: func.HttpRequest, offer_id: str) -> func.HttpResponse:
    view = api.show_offer(get_app(), offer_id)
    return _json(view.offer, headers={"ETag": view.etag})


def _put_offer(req: func.HttpRequest, offer_id: str) -> func.HttpResponse:
    data = api.read_json(req.get_body())
    offer = api.check_offer({"id": offer_id} | data if isinstance(data, dict) else data)
    if offer.id.casefold() != offer_id.strip().casefold():
        raise InvalidOffer("id: is not the one in the address; leave it out of the body, or make them agree")
    saved = api.set_offer(get_app(), offer, _etag(req))
    return _json(saved, status=201 if saved.result == "created" else 200, headers={"ETag": saved.etag})


def _delete_offer(req: func.HttpRequest, offer_id: str) -> func.HttpResponse:
    api.remove_offer(get_app(), offer_id, _etag(req))
    return func.HttpResponse(status_code=204, headers=NO_STORE)


def _list_types(_: func.HttpRequest) -> func.HttpResponse:
    return _json(api.list_destination_types(), "destination_types")


def _list_leads(req: func.HttpRequest) -> func.HttpResponse:
    return _json(api.list_leads(get_app(), api.LeadFilter.model_validate(_query(req))))


def _show_lead(_: func.HttpRequest, lead_id: str) -> func.HttpResponse:
    return _json(api.show_lead(get_app(), lead_id).model_dump(mode="json", exclude={"person"}))


def _status(_: func.HttpRequest) -> func.HttpResponse:
    return _json(api.status(get_app()))


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. In `path`, a segment in braces is what the handler gets besides the request."""

    method: str
    path: str
    handle: Callable[..., func.HttpResponse]
    does: str

    def match(self, path: str) -> tuple[str, ...] | None:
        """The values of the segments in braces, or None if the path is another."""
        wanted, given = self.path.split("/")[1:], path.split("/") if path else []
        if len(wanted) != len(given):
            return None
        pairs = list(zip(wanted, given, strict=True))
        if any(name != value for name, value in pairs if not name.startswith("{")):
            return None
        return tuple(_decoded(value) for name, value in pairs if name.startswith("{"))


ROUTES: Final = (
    Route("GET", "", _index, "List what there is to ask."),
    Route("GET", "/offers", _list_offers, "List the offers, each with its ETag."),
    Route("GET", "/offers/{id}", _show_offer, "Show an offer as PUT takes it; the header ETag says which version."),
    Route("PUT", "/offers/{id}", _put_offer, "Create or replace an offer; If-Match and If-None-Match: * are heeded."),
    Route("DELETE", "/offers/{id}", _delete_offer, "Remove an offer; If-Match is heeded."),
    Route(
        "GET", "/destination-types", _list_types, "List the destination types with the JSON Schema of their settings."
    ),
    Route("GET", "/leads", _list_leads, "List leads, newest first: ?offer= &state= &since= &until= &after= &limit="),
    Route("GET", "/leads/{lead_id}", _show_lead, "Show a lead with every attempt."),
    Route("GET", "/status", _status, "Show offers, connections, what waits and what was delivered."),
)


def answer_manage(req: func.HttpRequest) -> func.HttpResponse:
    """Answer a request on a management address."""
    path = (req.route_params.get("path") or "").strip("/")
    found = {route.method: (route, values) for route in ROUTES if (values := route.match(path)) is not None}
    if not found:
        return problem(404, "No such address", "GET /api/manage lists the addresses there are.", headers=NO_STORE)
    if req.method not in found:
        allowed = ", ".join(found)
        headers = NO_STORE | {"Allow": allowed}
        return problem(405, "Method not allowed", f"This address takes {allowed}, not {req.method}.", headers=headers)
    route, values = found[req.method]
    return _answer(route, req, values)


def _answer(route: Route, req: func.HttpRequest, values: tuple[str, ...]) -> func.HttpResponse:
    try:
        return route.handle(req, *values)
    except api.NotFound as error:
        return _problem(404, "Not found", str(error))
    except InvalidOffer as error:
        return _problem(400, "The offer is not valid", str(error))
    except ValidationError as error:
        return _problem(400, "The query is not valid", first_problem(error))
    except OfferChanged:
        if "if-none-match" in req.headers:
            return _problem(412, "The offer exists", "If-None-Match: there is an offer of this id already")
        return _problem(412, "The offer has changed", "If-Match: the stored offer is another version; read it again")
    except (StorageError, SettingsError) as error:
        emit(Event.STORAGE_UNAVAILABLE, what="manage", why=type(error).__name__)
        headers = NO_STORE | {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return problem(503, "Temporarily unavailable", "Storage did not answer. Ask again.", headers=headers)


def _problem(status: int, title: str, text: str) -> func.HttpResponse:
    """A problem whose text begins with the field that it is about."""
    field, _, detail = text.partition(": ")
    return problem(status, title, detail, field=field, headers=NO_STORE)


def _json(
    body: Any, name: str = "", *, status: int = 200, headers: Mapping[str, str] | None = None
) -> func.HttpResponse:
    text = TypeAdapter(Any).dump_json({name: body} if name else body)
    return func.HttpResponse(
        text, status_code=status, mimetype="application/json", headers={**NO_STORE, **(headers or {})}
    )


def _decoded(segment: str) -> str:
    """The host decodes a path, except for the slashes in a catch-all parameter."""
    return re.sub("%2f", "/", segment, flags=re.IGNORECASE)


def _query(req: func.HttpRequest) -> dict[str, str]:
    """The query without the function key and without what was left blank."""
    query = {name.lower(): value for name, value in req.params.items()}
    return {name: value for name, value in query.items() if value and name not in _KEY_PARAMETERS}


def _etag(req: func.HttpRequest) -> str | None:
    """Which version of the offer the caller expects: an ETag, "*" for any, "" for none, None if that is left open."""
    if (none_match := req.headers.get("if-none-match")) is not None:
        if none_match.strip() != "*":
            raise InvalidOffer("If-None-Match: only * is understood, for an offer that must not exist yet")
        return ""
    match = req.headers.get("if-match")
    return match.strip() if match else None
