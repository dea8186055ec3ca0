"""`offers`: what there is, and changing it. Whatever is saved is saved only in the place of what was compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from leads.cli import hints
from leads.cli.completion import destination_types
from leads.cli.exits import CHANGED_MEANWHILE, DONE, NEEDS_A_PERSON
from leads.cli.files import STANDARD_INPUT, read_offers
from leads.cli.output import print_json, print_line, print_table, time_of, value_of
from leads.cli.prompts import OfferId, ask, confirm
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
    python -m leads offers connect contoso.crm     asks for all that a new destination needs
    python -m leads offers validate contoso.crm    signs in and looks, and writes nothing
    python -m leads offers preview contoso.crm     shows the requests of a lead, and sends nothing
    python -m leads offers test contoso.crm        sends a test lead and waits until it has arrived
    python -m leads offers apply offers.yaml       makes the offers what the file says
    """,
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A YAML or JSON file, or - for standard input.")]


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to become of an offer. `etag` is that of the version it was compared with, "" if there was none."""

    id: str
    offer: Offer | None
    etag: str = ""
    changes: Sequence[Change] = ()

    @property
    def verb(self) -> str:
        if self.offer is None:
            return "remove"
        if not self.etag:
            return "create"
        return "change" if self.changes else "unchanged"


def stored_offer(context: typer.Context, offer_id: str) -> ShownOffer | None:
    """The offer as it is stored, if it is."""
    try:
        return ask(context, show_offer, ShowOffer(offer_id=offer_id))
    except NotFound:
        return None


def compare(offer: Offer, stored: ShownOffer | None) -> Planned:
    """What is to be done so that the stored offer becomes this one."""
    return Planned(offer.id, offer, stored.etag, changes(stored.offer, offer)) if stored else Planned(offer.id, offer)


def _read_plans(context: typer.Context, file: str) -> list[Planned]:
    return [compare(offer, stored_offer(context, offer.id)) for offer in read_offers(file)]


def save(context: typer.Context, planned: Planned) -> None:
    """Carry it out. Raises `Changed` if the stored offer is no longer the one that it was compared with."""
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
    """Carry them out one after the other. Returns the exit status: whoever was quicker is not overwritten."""
    for planned in plans:
        try:
            save(context, planned)
        except Changed:
            print_line(
                f"error: {planned.id}: the offer changed since it was read, so nothing was saved. "
                "Repeat the command to see the new difference",
                err=True,
            )
            return CHANGED_MEANWHILE
        print_line(f"{planned.id}: {_DONE[planned.verb]}")
        if with_changes:
            _print_changes(planned)
    return DONE


_DONE = {"create": "created", "change": "changed", "remove": "removed", "unchanged": "unchanged"}


def show_plans(plans: Sequence[Planned]) -> None:
    """Say what is to be done, and which fields change."""
    for planned in plans:
        print_line(f"{planned.id}: {planned.verb}")
        _print_changes(planned)


def _print_changes(planned: Planned) -> None:
    for change in planned.changes:
        print_line(f"  {change.field}: {value_of(change.before)} -> {value_of(change.after)}")


@group.command("list", cls=Command)
def offers_list(context: typer.Context, shape: ListShape = Shape.TABLE) -> None:
    """List the offers. With --json: all of them as `offers apply` takes them back."""
    found = ask(context, list_offers, Nothing()).offers
    offers = [view.offer for view in found]
    if print_list(shape, columns_of(Offer), offers, offers):
        return
    if found:
        rows = [(v.offer.id, ", ".join(v.offer.titles), _destinations(v.offer), time_of(v.changed_at)) for v in found]
        print_table(("offer", "titles", "destinations", "changed (UTC)"), rows)
    else:
        print_line(
            "No offer is configured: every lead is kept as unrouted until one is. "
            f"To set one: {hints.command('offers', 'connect')}"
        )


@group.command("show")
def offers_show(context: typer.Context, offer_id: OfferId) -> None:
    """Print an offer as JSON, which `offers set` takes back."""
    print_json(ask(context, show_offer, ShowOffer(offer_id=offer_id)).offer)


@group.command("set")
def offers_set(context: typer.Context, file: File) -> int:
    """Save one offer or a list of them at once.

    Prints what has changed; `offers apply` shows it first, and asks.

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

    A secret never stands here, only where it is kept: env:NAME is an app setting, keyvault:NAME a secret in the Key
    Vault of LEADS_KEY_VAULT_URI. `titles` are the offer's display names; `when` (leave it out for all leads) may
    name stage, source, country and is_test. `offers types` shows the settings of each type.

    Nothing is saved unless all of it is right.
    """
    return save_all(context, _read_plans(context, file), with_changes=True)


@group.command("apply")
def offers_apply(
    context: typer.Context,
    file: File,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the difference; exit status 5 if there is one.")
    ] = False,
    remove_others: Annotated[
        bool, typer.Option("--remove-others", help="Remove the offers that the file does not name.")
    ] = False,
) -> int:
    """Make the offers what a file says.

    Shows the difference, asks, saves: for a file that lives in version control.

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

    One offer, a list of them, or several YAML documents will do, too; JSON is YAML. Offers that the file does not name stay
    as they are, unless --remove-others is given.

    If somebody else saves one of the offers while the difference is on the screen, that offer is not overwritten.
    """
    plans = _read_plans(context, file)
    if remove_others:
        kept = {planned.id.casefold() for planned in plans}
        stored = ask(context, list_offers, Nothing()).offers
        plans += [Planned(v.offer.id, None, v.etag) for v in stored if v.offer.id.casefold() not in kept]
    show_plans(plans)
    _tell_what_waits(context, [planned.id for planned in plans if planned.offer is None])
    to_do = [planned for planned in plans if planned.verb != "unchanged"]
    if not to_do:
        return DONE
    if dry_run:
        return NEEDS_A_PERSON
    if not yes and not confirm("Save this?", otherwise="--yes", from_standard_input=file == STANDARD_INPUT):
        print_line("Nothing was saved.")
        return DONE
    return save_all(context, to_do)


@group.command("remove")
def offers_remove(context: typer.Context, offer_id: OfferId, yes: Yes = False) -> int:
    """Remove an offer. Says what becomes of its leads, and asks.

    Leads that still wait become unrouted. They go to the first offer that takes them, such as * or one that is set later.
    """
    try:
        etag = ask(context, show_offer, ShowOffer(offer_id=offer_id)).etag
    except (Unreadable, UnreadableOffer):
        etag = ""
    _tell_what_waits(context, [offer_id])
    if not yes and not confirm(f"Remove the offer {offer_id}?", otherwise="--yes"):
        print_line("Nothing was removed.")
        return DONE
    return save_all(context, [Planned(offer_id, None, etag)])


def _tell_what_waits(context: typer.Context, removed: Sequence[str]) -> None:
    """Say what becomes of the leads of offers that are to be removed."""
    if not removed:
        return
    waiting = ask(context, show_status, Nothing()).waiting_by_offer
    for offer_id in removed:
        count = sum(number for offer, number in waiting.items() if offer.casefold() == offer_id.strip().casefold())
        if count:
            print_line(
                f"{offer_id}: {count} {'delivery is' if count == 1 else 'deliveries are'} still to be made. These leads "
                "become unrouted, and go to the first offer that takes them.",
                err=True,
            )


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
