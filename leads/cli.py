"""The operations of `leads.api` for a person at a shell. It needs typer and rich, which the deployed app does not have.

Exit status: 0 = done, 1 = there is no such thing, 2 = the input or a setting is wrong, 3 = storage is out of reach.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from pydantic import BaseModel, JsonValue, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.exceptions import TyperException

from leads import api
from leads.app import App
from leads.offers import InvalidOffer, Offer
from leads.problems import first_problem
from leads.rows import State
from leads.settings import SettingsError, read_settings
from leads.storage import PERSON_WAITING, StorageError

NOT_FOUND: Final = 1
BAD_INPUT: Final = 2
NO_STORAGE: Final = 3
STATES: Final = ", ".join(State)

_STYLES: Final = dict.fromkeys((State.UNREADABLE, State.DEAD_LETTER, State.HELD, State.CRASHED), "red") | dict.fromkeys(
    (State.PARKED, State.UNROUTED, State.RETRY), "yellow"
)
_UNSAFE_IN_A_TERMINAL: Final = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

commands = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""Look at marketplace leads and where they stand, and configure the offers that they belong to.

    The storage account is the app's own: set LeadsStorage to its connection string (UseDevelopmentStorage=true for
    Azurite), or LeadsStorage__accountName to use your Azure login (az login) with the roles Storage Table Data
    Contributor and Storage Queue Data Contributor. Times are UTC.

    \b
    python -m leads status
    python -m leads leads list --state dead_letter --since 3d
    python -m leads leads show 20260131235959999-0123456789ab-c
    python -m leads offers show contoso.crm > offer.json
    python -m leads offers set offer.json

    Exit status: 0 done, 1 not found, 2 wrong input or setting, 3 storage out of reach.
    """,
)
offers = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Offers: where the leads of a marketplace offer go.

    An offer has the id that Partner Center shows (publisher.offer), or * for every lead that no other offer takes. Its
    destinations say into which CRM its leads are written. Changes count within a minute, without a deployment.
    """,
)
leads = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Leads: where each stands, and every attempt to deliver it.

    \b
    waiting, retry        on the queue, or tried again by itself
    parked                its connection is paused; sent by itself when that works again
    unrouted              no offer takes it; sent by itself when one does
    crashed               the worker failed with it; tried again alone, up to three times
    held                  nobody knows whether it has arrived; look, then decide
    dead_letter           the destination refuses it; see the reason
    unreadable            its body can't be read; it is kept
    delivered, duplicate, skipped    done; delivered (unconfirmed) is handed over to a
                          vendor that does not say what came of it
    """,
)
commands.add_typer(offers, name="offers")
commands.add_typer(leads, name="leads")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
OfferId = Annotated[str, typer.Argument(metavar="ID", help="The offer's id: publisher.offer, or *.")]


# --- Offers -------------------------------------------------------------------------------------------------------------


@offers.command("list")
def offers_list(as_json: AsJson = False) -> None:
    """List the offers. With --json: all of them as `offers set` takes them back."""
    found = api.list_offers(_app())
    if as_json:
        _print_json([view.offer.model_dump(mode="json") for view in found])
        return
    if not found:
        _print(
            "No offer is configured: every lead is kept as unrouted until one is. See: python -m leads offers set --help"
        )
        return
    rows = [(v.offer.id, ", ".join(v.offer.titles), _destinations(v.offer), _time(v.changed_at)) for v in found]
    _print_table(("offer", "titles", "destinations", "changed (UTC)"), rows)


@offers.command("show")
def offers_show(offer_id: OfferId) -> None:
    """Print an offer as JSON, which `offers set` takes back."""
    _print_json(api.show_offer(_app(), offer_id).offer)


@offers.command("set")
def offers_set(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSON file, or - for standard input.")],
) -> None:
    """Create or replace an offer, or a list of offers, and print what changed.

    \b
    {
      "id": "contoso.crm",
      "titles": ["Contoso CRM"],
      "destinations": [
        {
          "name": "table",
          "type": "azure_table",
          "settings": {"connection_string": "env:CRM_STORAGE"},
          "when": {"stage": ["contact_requested", "purchase"]}
        }
      ],
      "policies": {"test_leads": "skip"}
    }

    A secret never stands here, only where it is kept: env:NAME is an app setting, keyvault:NAME a secret in the Key
    Vault of LEADS_KEY_VAULT_URI. `titles` are the offer's display names; `when` (leave it out for all leads) may
    name stage, source, country and is_test. `offers types` shows the settings of each type.

    Nothing is saved unless all of it is right.
    """
    data = api.read_json(_content(file))
    checked = [_checked(item, place) for place, item in _places(data)]
    app = _app()
    for offer in checked:
        saved = api.set_offer(app, offer)
        _print(f"{saved.id}: {saved.result}")
        for change in saved.changes:
            _print(f"  {change.field}: {_value(change.before)} -> {_value(change.after)}")


@offers.command("remove")
def offers_remove(offer_id: OfferId) -> None:
    """Remove an offer. Its leads that are not delivered yet are kept as unrouted, and sent when an offer takes them."""
    api.remove_offer(_app(), offer_id)
    _print(f"{offer_id}: removed")


@offers.command("types")
def offers_types(
    type_name: Annotated[str | None, typer.Argument(metavar="[TYPE]", help="The type whose settings to show.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the destination types, or the settings of one. With --json: the JSON Schema of the settings."""
    if type_name is None:
        types = api.list_destination_types()
        if as_json:
            _print_json([found.model_dump(mode="json") for found in types])
        else:
            _print_table(("type", "what it does"), [(found.type, found.description) for found in types])
        return
    found = api.show_destination_type(type_name)
    if as_json:
        _print_json(found)
        return
    _print(found.description)
    _print(str(found.settings_schema.get("description", "")))
    _print("")
    _print_table(("setting", "kind", "default", "meaning"), _setting_rows(found.settings_schema))


def _destinations(offer: Offer) -> str:
    return ", ".join(f"{config.name} ({config.type})" for config in offer.destinations)


def _content(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no file's name"
        raise InvalidOffer(f"FILE: {file} can't be read ({why}); name a JSON file, or - for standard input") from None


def _places(data: object) -> list[tuple[str, object]]:
    """The offers of a file with where they stand in it."""
    return (
        [(f"offers[{number}].", item) for number, item in enumerate(data)] if isinstance(data, list) else [("", data)]
    )


def _checked(item: object, place: str) -> Offer:
    try:
        return api.check_offer(item)
    except InvalidOffer as error:
        raise InvalidOffer(f"{place}{error}") from None


def _value(value: JsonValue) -> str:
    return "(nothing)" if value is None else json.dumps(value, ensure_ascii=False)


def _setting_rows(schema: dict[str, Any]) -> list[Sequence[str]]:
    required = schema.get("required", [])
    return [
        (
            name,
            _kind(setting),
            "(required)" if name in required else _value(setting.get("default")),
            setting.get("description", ""),
        )
        for name, setting in schema.get("properties", {}).items()
    ]


def _kind(setting: dict[str, Any]) -> str:
    """What a setting's JSON Schema asks for, in a word or two."""
    if "anyOf" in setting:
        return " or ".join(_kind(choice) for choice in setting["anyOf"] if choice.get("type") != "null")
    if "enum" in setting:
        return " | ".join(map(str, setting["enum"]))
    if setting.get("format") == "secret-reference":
        return "secret reference"
    return str(setting.get("type") or setting.get("$ref", "any").rpartition("/")[2])


# --- Leads --------------------------------------------------------------------------------------------------------------


@leads.command("list")
def leads_list(
    offer: Annotated[str | None, typer.Option(help="Only leads of this offer; - is the unrouted ones.")] = None,
    state: Annotated[str | None, typer.Option(help=f"Only leads in this state: {STATES}.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only leads received since: 2026-01-31, 2026-01-31T14:00Z, 2h, 3d.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only leads received until then; written like --since.")] = None,
    limit: Annotated[int, typer.Option(help=f"How many, at most {api.MAX_PAGE}.")] = 50,
    after: Annotated[
        str | None, typer.Option(help="Go on after this lead id, the last one of the page before.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List leads, newest first, without personal data."""
    wanted = {"offer": offer, "state": state, "since": since, "until": until, "limit": limit, "after": after}
    which = api.LeadFilter.model_validate({name: value for name, value in wanted.items() if value is not None})
    page = api.list_leads(_app(), which)
    if as_json:
        _print_json(page)
        return
    if not page.leads:
        _print("No such leads.")
        return
    rows = [
        (
            _time(lead.received_at)[:-3],
            lead.lead_id,
            lead.offer or "-",
            lead.stage,
            _state(lead.state, test=lead.is_test, unconfirmed=lead.unconfirmed),
        )
        for lead in page.leads
    ]
    _print_table(("received (UTC)", "lead", "offer", "stage", "state"), rows, folded="offer")
    if page.after:
        typer.echo(f"There are more: --after {page.after}", err=True)


@leads.command("show")
def leads_show(
    lead_id: Annotated[str, typer.Argument(metavar="LEAD", help="The lead's id, as `leads list` prints it.")],
    person: Annotated[bool, typer.Option("--person", help="Print what the customer said, too: personal data.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a lead stands with each destination, and every attempt: time, outcome, vendor's code, next try."""
    lead = api.show_lead(_app(), lead_id, with_person=person)
    if as_json:
        _print_json(lead.model_dump(mode="json", exclude=None if person else {"person"}))
        return
    named = ", ".join(f"{name} {text!r}" for name, text in lead.named_offer.items())
    _print_fields(
        {
            "lead": lead.lead_id,
            "received": f"{_time(lead.received_at)} UTC",
            "offer": lead.offer or "none (unrouted)",
            "named by": named,
            "source": lead.source,
            "action": f"{lead.action or 'none'} ({lead.stage.replace('_', ' ')})",
            "state": _state(lead.state, test=lead.is_test),
        }
    )
    for delivery in lead.deliveries:
        _print_delivery(delivery)
    if lead.person:
        _print("")
        _print_fields({name.replace("_", " "): _said(value) for name, value in lead.person.model_dump().items()})


def _print_delivery(delivery: api.DeliveryView) -> None:
    _print("")
    _print_fields(
        {
            "destination": delivery.destination,
            "state": _state(delivery.state, unconfirmed=delivery.unconfirmed),
            "reason": delivery.reason,
            "next try": f"{_time(delivery.next_at)} UTC" if delivery.next_at else "",
            "record": delivery.record_id,
            "duplicate of": delivery.duplicate_of,
            "repeat of": delivery.repeat_of,
            "possibly twice": "yes: an answer was lost, and it was sent again" if delivery.possibly_twice else "",
            "connection": delivery.connection,
        }
    )
    rows = [(_time(a.at), a.outcome, a.code, f"{a.milliseconds} ms", _time(a.next_at)) for a in delivery.attempts]
    if rows:
        _print_table(("attempt (UTC)", "outcome", "code", "took", "next try (UTC)"), rows)


def _said(value: str | dict[str, str]) -> str:
    return value if isinstance(value, str) else "\n".join(f"{name}: {text}" for name, text in value.items())


def _state(state: State, *, test: bool = False, unconfirmed: bool = False) -> Text:
    marks = ("test" if test else "", "unconfirmed" if unconfirmed and state is State.DELIVERED else "")
    said = ", ".join(filter(None, marks))
    return Text(f"{state} ({said})" if said else str(state), _STYLES.get(state, ""))


# --- Status -------------------------------------------------------------------------------------------------------------


@commands.command("status")
def status(as_json: AsJson = False) -> None:
    """Show offers, connections, what waits and what was delivered."""
    found = api.status(_app())
    if as_json:
        _print_json(found)
        return
    waiting = {state: count for state, count in found.undelivered.items() if count}
    more = " or more" if found.delivered_of_last_24_hours == api.COUNTED_AT_MOST else ""
    unconfirmed = (
        f", {found.unconfirmed_of_last_24_hours} of them unconfirmed" if found.unconfirmed_of_last_24_hours else ""
    )
    _print_fields(
        {
            "offers": ", ".join(found.offers) or "none: see python -m leads offers set --help",
            "delivered": f"{found.delivered_of_last_24_hours}{more} of the leads of the last 24 hours{unconfirmed}",
            "undelivered": ", ".join(f"{count} {state}" for state, count in waiting.items()) or "none",
            "oldest": _oldest(found.oldest_undelivered),
            "queue": f"{found.queue.leads} messages, {found.queue.poison} poison",
        }
    )
    if found.connections:
        _print("")
        rows = [(c.id, c.type, _health(c), _time(c.last_success_at), _uses(c)) for c in found.connections]
        _print_table(("connection", "type", "health", "last success (UTC)", "used by"), rows)


def _oldest(waiting: api.Waiting | None) -> str:
    return f"{waiting.lead_id}, {waiting.state} since {_time(waiting.received_at)} UTC" if waiting else ""


def _health(connection: api.ConnectionView) -> Text:
    style = "red" if connection.paused else "yellow" if connection.failures else ""
    since = f" (since {_time(connection.since)} UTC)" if connection.since else ""
    return Text(_printable(connection.health) + since, style)


def _uses(connection: api.ConnectionView) -> str:
    return ", ".join(f"{use.offer} {use.destination}" for use in connection.used_by)


# --- Printing -----------------------------------------------------------------------------------------------------------


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _print_json(what: BaseModel | JsonValue) -> None:
    value = what.model_dump(mode="json") if isinstance(what, BaseModel) else what
    text = json.dumps(value, ensure_ascii=False, indent=2)
    typer.echo(_UNSAFE_IN_A_TERMINAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def _print(line: str) -> None:
    typer.echo(_printable(line))


def _print_fields(fields: dict[str, str | Text]) -> None:
    """Name and value a line, without the empty ones."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value:
            table.add_row(name, _cell(value))
    _print_rendered(table)


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str | Text]], folded: str = "") -> None:
    """A table as wide as the terminal, where only the column `folded` is narrowed ("" = any). Piped, a row is a line."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=folded not in {"", title})
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    _print_rendered(table)


def _print_rendered(table: Table) -> None:
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text("\n".join(_printable(line) for line in value.splitlines()))


def _printable(text: str) -> str:
    """Text that can't steer a terminal: leads hold what strangers wrote."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


# --- Running ------------------------------------------------------------------------------------------------------------


def _app() -> App:
    return App(read_settings(), PERSON_WAITING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command (default: the one of the process). Returns the exit status; what goes wrong is said in one line."""
    logging.getLogger().addHandler(logging.NullHandler())  # azure.identity tells at length what the one line says
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        result = commands(arguments, prog_name="python -m leads", standalone_mode=False)
        sys.stdout.flush()
    except api.NotFound as error:
        return _fail(NOT_FOUND, str(error))
    except (InvalidOffer, SettingsError) as error:
        return _fail(BAD_INPUT, str(error))
    except ValidationError as error:
        return _fail(BAD_INPUT, first_problem(error))
    except TyperException as error:
        hint = "" if "\n" in error.format_message() else "; --help says more"
        return _fail(error.exit_code, error.format_message().rstrip(".") + hint)
    except StorageError as error:
        return _fail(NO_STORAGE, _storage_problem(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it ends
        return 1
    return result if isinstance(result, int) else 0


def _fail(status: int, text: str) -> int:
    typer.echo(text, err=True)
    return status


def _storage_problem(error: StorageError) -> str:
    if not isinstance(error, HttpResponseError):
        return f"LeadsStorage: the storage account does not answer ({type(error).__name__}); check its name and the network"
    if isinstance(error, ClientAuthenticationError) and not error.status_code:
        return "LeadsStorage: there is no Azure login; run az login, or set LeadsStorage to a connection string"
    code = getattr(error, "error_code", None)
    answer = f"{error.status_code} {getattr(code, 'value', code) or ''}".rstrip()
    if error.status_code in {401, 403}:
        return (
            f"LeadsStorage: the storage account refuses ({answer}); check the key, or give your login the roles "
            "Storage Table Data Contributor and Storage Queue Data Contributor"
        )
    return f"LeadsStorage: the storage account answers {answer}; try again later"
