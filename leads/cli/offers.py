"""`offers`: list, show and change offers. A save fails if the stored offer changed since it was compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from leads.cli import hints
from leads.cli.completion import destination_types
from leads.cli.exits import CHANGED_BY_OTHERS, DONE, NEEDS_A_PERSON
from leads.cli.files import STANDARD_INPUT, read_offers
from leads.cli.output import print_json, print_line, print_table, time_of, value_of
from leads.cli.prompts import OfferId, ask, confirm_change
from leads.cli.settings import Setting, settings_of
from leads.cli.shapes import Command, ListShape, Shape, columns_of, print_list
from leads.cli.steps import Yes
from leads.offers.model import Offer
from leads.offers.table import UnreadableOffer
from leads.operations.destination_types import (
    DestinationType,
    ShowDestinationType,
    list_destination_types,
    show_destination_type,
)
from leads.operations.offers import (
    Change,
    OfferBody,
    RemoveOffer,
    SetOffer,
    ShownOffer,
    ShowOffer,
    changes,
    list_offers,
    remove_offer,
    set_offer,
    show_offer,
)
from leads.operations.operation import Nothing
from leads.operations.problems import Changed, NotFound, Unreadable
from leads.operations.status import show_status

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Offers and the destinations of their leads.

    An offer has the id that Partner Center shows (publisher.offer), or * for every lead that no other offer takes. Its
    destinations are the CRMs that get its leads. Changes take effect within a minute, without a deployment.

    \b
    python -m leads offers connect contoso.crm     asks for the settings of a new destination
    python -m leads offers validate contoso.crm    checks the connections, and writes nothing
    python -m leads offers preview contoso.crm     shows the requests of a lead, and sends nothing
    python -m leads offers test contoso.crm        sends a test lead and waits until it has arrived
    python -m leads offers apply offers.yaml       saves the offers of a file
    """,
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A YAML or JSON file, or - for standard input.")]


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned change of an offer; `offer` is None to remove it. `etag`: the compared version, "" if there was none.

    `removed`: the names of destinations that the offer no longer has.
    """

    id: str
    offer: Offer | None
    etag: str = ""
    changes: Sequence[Change] = ()
    removed: Sequence[str] = ()

    @property
    def verb(self) -> str:
        if self.offer is None:
            return "remove"
        if not self.etag:
            return "create"
        return "change" if self.changes else "unchanged"


def stored_offer(context: typer.Context, offer_id: str) -> ShownOffer | None:
    """The stored offer, or None."""
    try:
        return ask(context, show_offer, ShowOffer(offer_id=offer_id))
    except NotFound:
        return None


def compare(offer: Offer, stored: ShownOffer | None) -> Planned:
    """The change that makes the stored offer this one."""
    if stored is None:
        return Planned(offer.id, offer)
    removed = [before.name for before in stored.offer.destinations if offer.destination(before.name) is None]
    return Planned(offer.id, offer, stored.etag, changes(stored.offer, offer), removed)


def _read_plans(context: typer.Context, file: str) -> list[Planned]:
    return [compare(offer, stored_offer(context, offer.id)) for offer in read_offers(file)]


def save(context: typer.Context, planned: Planned) -> None:
    """Save or remove the offer. Raises `Changed` if the stored offer changed since it was compared."""
    if planned.verb == "unchanged":
        return
    seen = planned.etag or None
    if planned.offer is None:
        ask(context, remove_offer, RemoveOffer(offer_id=planned.id, if_match=seen))
        return
    body = OfferBody.model_validate(planned.offer.model_dump())
    only_new: Literal["*"] | None = None if seen else "*"
    ask(context, set_offer, SetOffer(offer_id=planned.id, offer=body, if_match=seen, if_none_match=only_new))


def save_all(context: typer.Context, plans: Sequence[Planned], *, with_changes: bool = False) -> int:
    """Save the offers one by one, until one has changed since it was compared. Returns the exit status."""
    for planned in plans:
        try:
            save(context, planned)
        except Changed:
            print_line(
                f"error: {planned.id}: the offer changed since it was read, so nothing was saved. "
                "Repeat the command to see the new difference",
                err=True,
            )
            return CHANGED_BY_OTHERS
        print_line(f"{planned.id}: {_DONE[planned.verb]}")
        if with_changes:
            _print_changes(planned)
    return DONE


_DONE = {"create": "created", "change": "changed", "remove": "removed", "unchanged": "unchanged"}


def show_plans(plans: Sequence[Planned]) -> None:
    """Print what each plan does, and which fields change."""
    for planned in plans:
        print_line(f"{planned.id}: {planned.verb}")
        _print_changes(planned)


def _print_changes(planned: Planned) -> None:
    for change in planned.changes:
        print_line(f"  {change.field}: {value_of(change.before)} -> {value_of(change.after)}")


@group.command("list", cls=Command)
def offers_list(context: typer.Context, shape: ListShape = Shape.TABLE) -> None:
    """List the offers. With --json: in the format that `offers apply` takes."""
    found = ask(context, list_offers, Nothing()).offers
    offers = [view.offer for view in found]
    if print_list(shape, columns_of(Offer), offers, offers):
        return
    if found:
        rows = [(v.offer.id, ", ".join(v.offer.titles), _destinations(v.offer), time_of(v.changed_at)) for v in found]
        print_table(("offer", "titles", "destinations", "changed (UTC)"), rows)
    else:
        print_line(
            "No offer is configured: the app keeps every lead as unrouted. "
            f"To set an offer: {hints.command('offers', 'connect')}"
        )


@group.command("show")
def offers_show(context: typer.Context, offer_id: OfferId) -> None:
    """Print an offer as JSON, in the format that `offers set` takes."""
    print_json(ask(context, show_offer, ShowOffer(offer_id=offer_id)).offer)


@group.command("set")
def offers_set(context: typer.Context, file: File) -> int:
    """Save one offer or a list of offers at once.

    Prints the changes; `offers apply` shows the changes first, and asks.

    \b
    {
      "id": "contoso.crm",
      "titles": ["Contoso CRM"],
      "destinations": [
        {
          "name": "table",
          "type": "azure_table",
          "settings": {"connection_string": "env:LEADS_SECRET_CRM_STORAGE"},
          "when": {"stage": ["contact_requested", "purchase"]}
        }
      ],
      "policies": {"test_leads": "skip"}
    }

    The file names the place of a secret, and never holds a secret: env:NAME is an app setting, keyvault:NAME a secret in the
    Key Vault of LEADS_KEY_VAULT_URI. `titles` are the offer's display names; `when` (leave it out for all leads) may
    name stage, source, country and is_test. `offers types` shows the settings of each type.

    If a field is wrong, the command saves nothing.
    """
    plans = _read_plans(context, file)
    _print_waiting(context, plans)
    return save_all(context, plans, with_changes=True)


@group.command("apply")
def offers_apply(
    context: typer.Context,
    file: File,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the changes; exit status 5 if there are any.")
    ] = False,
    remove_others: Annotated[
        bool, typer.Option("--remove-others", help="Remove the offers that the file does not name.")
    ] = False,
) -> int:
    """Save the offers of a file, such as one in version control.

    The command shows the changes, asks, and saves.

    \b
    offers:
      - id: contoso.crm
        titles: [Contoso CRM]
        destinations:
          - name: table
            type: azure_table
            settings: {connection_string: "env:LEADS_SECRET_CRM_STORAGE"}
      - id: "*"
        destinations:
          - {name: rest, type: azure_table}

    The file may also hold one offer, a list of offers, or several YAML documents; JSON is YAML. Offers that the file does not
    name stay as they are, unless --remove-others is given.

    If someone else saves an offer while you read the changes, the command does not overwrite that offer.
    """
    plans = _read_plans(context, file)
    if remove_others:
        kept = {planned.id.casefold() for planned in plans}
        stored = ask(context, list_offers, Nothing()).offers
        plans += [Planned(v.offer.id, None, v.etag) for v in stored if v.offer.id.casefold() not in kept]
    show_plans(plans)
    _print_waiting(context, plans)
    to_do = [planned for planned in plans if planned.verb != "unchanged"]
    if not to_do:
        return DONE
    if dry_run:
        return NEEDS_A_PERSON
    if not yes and not confirm_change(context, "Save this?", from_standard_input=file == STANDARD_INPUT):
        print_line("Nothing was saved.")
        return DONE
    return save_all(context, to_do)


@group.command("remove")
def offers_remove(context: typer.Context, offer_id: OfferId, yes: Yes = False) -> int:
    """Remove an offer, after a question that names its waiting leads.

    These leads become unrouted. They go to the first offer that takes them, such as * or one that you set later.
    """
    try:
        etag = ask(context, show_offer, ShowOffer(offer_id=offer_id)).etag
    except (Unreadable, UnreadableOffer):
        etag = ""
    planned = Planned(offer_id, None, etag)
    _print_waiting(context, [planned])
    if not yes and not confirm_change(context, f"Remove the offer {offer_id}?"):
        print_line("Nothing was removed.")
        return DONE
    return save_all(context, [planned])


def _print_waiting(context: typer.Context, plans: Sequence[Planned]) -> None:
    """Print what happens to the waiting leads of offers and destinations to remove."""
    removing = [planned for planned in plans if planned.offer is None or planned.removed]
    if not removing:
        return
    waiting = ask(context, show_status, Nothing()).waiting_by_offer
    for planned in removing:
        count = sum(number for offer, number in waiting.items() if offer.casefold() == planned.id.strip().casefold())
        if count:
            what = (
                "These leads become unrouted, and go to the first offer that takes them."
                if planned.offer is None
                else f"Those for {', '.join(planned.removed)} become dead letters. If a destination only changes, keep its name."
            )
            print_line(f"{planned.id}: {count} {'delivery' if count == 1 else 'deliveries'} waiting. {what}", err=True)


@group.command("types", cls=Command)
def offers_types(
    context: typer.Context,
    type_name: Annotated[
        str | None,
        typer.Argument(metavar="TYPE", help="The type whose settings to show.", autocompletion=destination_types),
    ] = None,
    shape: ListShape = Shape.TABLE,
) -> None:
    """List the destination types, or the settings of one. With --json: the JSON Schema of the settings."""
    if type_name is None:
        types = ask(context, list_destination_types, Nothing()).destination_types
        if not print_list(shape, columns_of(DestinationType), types, types):
            print_table(("type", "what it does"), [(found.type, found.description) for found in types])
        return
    found = ask(context, show_destination_type, ShowDestinationType(type=type_name))
    if print_list(shape, columns_of(DestinationType), [found], found):
        return
    print_line(found.description)
    print_line(str(found.settings_schema.get("description", "")))
    print_line("")
    print_table(("setting", "kind", "default", "meaning"), [_row(setting) for setting in settings_of(found)])


def _destinations(offer: Offer) -> str:
    return ", ".join(f"{config.name} ({config.type})" for config in offer.destinations)


def _row(setting: Setting) -> tuple[str, str, str, str]:
    default = "(required)" if setting.required else value_of(setting.default)
    return (setting.name, setting.kind, default, setting.description)
