"""The audit: writes a row and an event for each change and each view of personal data, and lists the rows."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from leads.app import App
from leads.core import clock
from leads.core.identity import is_lead_id
from leads.ledger.audit import CURSOR, Audit, AuditEntry, AuditKind
from leads.operations.access import AccessLevel, Caller
from leads.operations.operation import PATH, QUERY, AnswerT, Operation, Request, RequestT, located_fields, whole_body
from leads.platform.events import Event, emit

MAX_PAGE: Final = 1000


def carry_out(operation: Operation[RequestT, AnswerT], app: App, request: RequestT, caller: Caller) -> AnswerT:
    """Carry out an operation for a caller. An operation that needs a row fails if the row can't be written.

    The row is written before the operation, and says what the caller asked for. The event says that the operation is done.
    """
    kind = kind_of(operation, request, caller)
    if kind is None:
        return operation.carry_out(app, request, caller)
    about = _about(request)
    app.audit.note(
        AuditEntry(clock.now(), kind, operation.name, about, level=caller.level, by=caller.by, who=caller.who)
    )
    answer = operation.carry_out(app, request, caller)
    event = Event.CHANGE_MADE if kind is AuditKind.CHANGE else Event.PERSONAL_DATA_VIEWED
    emit(event, operation=operation.name, about=about, level=caller.level, by=caller.by, who=caller.who)
    return answer


def _about(request: Request) -> str:
    """The ids in the address. A value that is not an id, such as a name or an e-mail address, is dropped."""
    ids = {name: str(getattr(request, name)) for name, place, _ in located_fields(type(request)) if place is PATH}
    return " ".join(text for name, text in ids.items() if "@" not in text and (name != "lead_id" or is_lead_id(text)))


def kind_of(operation: Operation[Any, Any], request: Request, caller: Caller) -> AuditKind | None:
    """The kind of entry that a request needs, or None. A dry run needs none."""
    field = whole_body(type(request))
    if getattr(getattr(request, field) if field else request, "dry_run", False):
        return None
    if operation.changes:
        return AuditKind.CHANGE
    if operation.personal and caller.level is AccessLevel.PERSONAL:
        return AuditKind.PERSONAL_DATA
    return None


class AuditFilter(Request):
    """How much of the audit to list."""

    limit: Annotated[int, QUERY] = Field(
        default=50, ge=1, le=MAX_PAGE, description=f"Number of entries, at most {MAX_PAGE}."
    )
    cursor: Annotated[str, QUERY] = Field(
        default="", pattern=f"^({CURSOR})?$", description="Continue after the previous page: its `cursor`."
    )


class AuditPage(BaseModel):
    """Entries, newest first. `cursor` asks for the next page; None = this is the last one."""

    entries: list[AuditEntry]
    cursor: str | None


def list_audit(audit: Audit, request: AuditFilter) -> AuditPage:
    """List changes and views of personal data with their callers, newest first. Entries are kept for a year."""
    found, cursor = audit.newest(request.limit, request.cursor)
    return AuditPage(entries=found, cursor=cursor or None)
