"""The table of operations. http.py answers them, openapi.py describes them, and the command line calls them."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, JsonValue

from leads.operations import (
    audit,
    connections,
    destination_types,
    dismissal,
    doctor,
    export,
    imports,
    leads,
    offers,
    openapi,
    people,
    preview,
    replay,
    report,
    status,
    test_lead,
    validation,
)
from leads.operations.access import AccessLevel, Caller
from leads.operations.operation import BODY, LONG_SECONDS, Nothing, Operation
from leads.operations.problems import NotFound, Unreadable
from leads.platform.settings import Settings
from leads.privacy.stores import PersonalDataStores

STORED: Final = frozenset({Unreadable.status})
"""The statuses of problems that each operation on stored offers may answer."""


class Address(BaseModel):
    """An operation, its address, and the level that it needs."""

    name: str
    level: AccessLevel
    method: str
    path: str
    summary: str


class Index(BaseModel):
    """All operations."""

    operations: list[Address]


class Document(BaseModel):
    """An OpenAPI document."""

    document: Annotated[dict[str, JsonValue], BODY]


class WhoAmI(BaseModel):
    """The caller's level. `personal_data` says whether answers hold what customers said."""

    level: AccessLevel
    name_of_level: str = Field(description="The level in words.")
    by: Literal["key", "entra", "shell"]
    personal_data: bool = Field(
        description="At the level personal; over HTTP only where LEADS_PERSONAL_DATA_OVER_HTTP is true."
    )


def list_operations(caller: Caller, request: Nothing) -> Index:
    """List the operations."""
    return Index(
        operations=[
            Address(
                name=found.name,
                level=found.level,
                method=found.method,
                path=f"{caller.base}{found.path}",
                summary=found.summary,
            )
            for found in OPERATIONS
        ]
    )


def show_openapi(caller: Caller, request: Nothing) -> Document:
    """Show this interface as an OpenAPI 3.1 document."""
    return Document(document=openapi.describe(OPERATIONS, caller))


def whoami(caller: Caller, settings: Settings, request: Nothing) -> WhoAmI:
    """Show the caller's level, and whether answers hold personal data."""
    level = caller.level
    return WhoAmI(
        level=level,
        name_of_level=level.in_words,
        by=caller.by,
        personal_data=level is AccessLevel.PERSONAL and (caller.by == "shell" or settings.personal_data_over_http),
    )


OPERATIONS: Final[tuple[Operation[Any, Any], ...]] = (
    Operation("GET", "", list_operations, level=AccessLevel.REPORT, for_caller=True),
    Operation("GET", "/openapi.json", show_openapi, level=AccessLevel.REPORT, for_caller=True),
    Operation("GET", "/whoami", whoami, lambda app: (app.settings,), level=AccessLevel.REPORT, for_caller=True),
    Operation(
        "GET",
        "/status",
        status.show_status,
        lambda app: (app.offers, app.connections, app.ledger, app.alarms, app.lead_queues, app.settings),
    ),
    Operation("GET", "/report", report.show_report, lambda app: (app.daily_counts,), level=AccessLevel.REPORT),
    Operation("GET", "/doctor", doctor.examine_deployment, lambda app: (app,), examines=True, seconds=LONG_SECONDS),
    Operation("GET", "/offers", offers.list_offers, lambda app: (app.offers,), also=STORED),
    Operation("GET", "/offers/{offer_id}", offers.show_offer, lambda app: (app.offers,), also=STORED),
    Operation(
        "PUT",
        "/offers/{offer_id}",
        offers.set_offer,
        lambda app: (app.offers,),
        created=lambda saved: saved.result == "created",
        also=STORED,
        changes=True,
    ),
    Operation(
        "DELETE",
        "/offers/{offer_id}",
        offers.remove_offer,
        lambda app: (app.offers,),
        status=204,
        also=STORED,
        changes=True,
    ),
    Operation(
        "POST",
        "/offers/{offer_id}/validate",
        validation.validate_offer,
        lambda app: (app.offers, app.context, app.last_refusal),
        also=STORED,
        seconds=LONG_SECONDS,
    ),
    Operation(
        "POST",
        "/offers/{offer_id}/test-leads",
        test_lead.send_test_lead,
        lambda app: (app.offers, app.incoming),
        status=202,
        also=STORED,
        changes=True,
    ),
    Operation(
        "POST",
        "/validate",
        validation.validate_destination,
        lambda app: (app.context, app.last_refusal),
        seconds=LONG_SECONDS,
    ),
    Operation(
        "POST", "/preview", preview.preview_lead, lambda app: (app.offers, app.context), also=STORED | {NotFound.status}
    ),
    Operation("GET", "/destination-types", destination_types.list_destination_types),
    Operation("GET", "/destination-types/{type}", destination_types.show_destination_type),
    Operation(
        "GET", "/connections", connections.list_connections, lambda app: (app.connections, app.offers, app.ledger)
    ),
    Operation(
        "GET",
        "/connections/{connection_id}",
        connections.show_connection,
        lambda app: (app.connections, app.offers, app.ledger),
    ),
    Operation(
        "POST",
        "/connections/{connection_id}/pause",
        connections.pause_connection,
        lambda app: (app.connections, app.offers, app.ledger),
        changes=True,
    ),
    Operation(
        "POST",
        "/connections/{connection_id}/resume",
        connections.resume_connection,
        lambda app: (app.connections, app.offers, app.ledger),
        changes=True,
    ),
    Operation("GET", "/leads", leads.list_leads, lambda app: (app.ledger,)),
    Operation("GET", "/leads/{lead_id}", leads.show_lead, lambda app: (app.ledger,)),
    Operation(
        "POST",
        "/leads/{lead_id}/replay",
        replay.replay_lead,
        lambda app: (app.queue, app.ledger, app.offers, app.incoming),
        changes=True,
    ),
    Operation(
        "POST",
        "/replay",
        replay.replay_leads,
        lambda app: (app.queue, app.ledger, app.offers),
        seconds=LONG_SECONDS,
        changes=True,
    ),
    Operation("POST", "/leads/{lead_id}/dismiss", dismissal.dismiss_lead, lambda app: (app.ledger,), changes=True),
    Operation(
        "POST", "/dismiss", dismissal.dismiss_leads, lambda app: (app.ledger,), seconds=LONG_SECONDS, changes=True
    ),
    Operation(
        "POST",
        "/import/rows",
        imports.import_rows,
        lambda app: (app.ledger, app.offers, app.incoming),
        seconds=LONG_SECONDS,
        changes=True,
    ),
    Operation(
        "POST",
        "/import/table",
        imports.import_table,
        lambda app: (app.ledger, app.offers, app.incoming, app.context),
        seconds=LONG_SECONDS,
        changes=True,
    ),
    Operation(
        "POST",
        "/reconcile",
        imports.reconcile_rows,
        lambda app: (app.ledger, app.offers, app.destination),
        seconds=LONG_SECONDS,
    ),
    Operation(
        "GET",
        "/leads/{lead_id}/person",
        leads.show_person,
        lambda app: (app.ledger,),
        level=AccessLevel.PERSONAL,
        personal=True,
    ),
    Operation(
        "POST",
        "/export",
        export.export_leads,
        lambda app: (app.ledger,),
        personal=True,
        for_caller=True,
        seconds=LONG_SECONDS,
    ),
    Operation(
        "POST",
        "/access",
        people.show_customer,
        lambda app: (PersonalDataStores(app.ledger, app.tombstones, app.lead_queues, app.offers, app.destination),),
        level=AccessLevel.PERSONAL,
        personal=True,
        seconds=LONG_SECONDS,
    ),
    Operation("GET", "/audit", audit.list_audit, lambda app: (app.audit,)),
    Operation(
        "POST",
        "/erasures",
        people.erase_customer,
        lambda app: (PersonalDataStores(app.ledger, app.tombstones, app.lead_queues, app.offers, app.destination),),
        level=AccessLevel.PERSONAL,
        seconds=LONG_SECONDS,
        changes=True,
    ),
)

BY_FUNCTION: Final[Mapping[Callable[..., Any], Operation[Any, Any]]] = {
    operation.run: operation for operation in OPERATIONS
}
"""The operation that a function carries out."""
