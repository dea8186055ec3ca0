"""Completion for the Tab key. It offers nothing that takes long, or that needs a person or the Azure CLI."""

from collections.abc import Callable, Iterable
from typing import Any

import typer

Completed = Iterable[tuple[str, str]]


def offer_ids(context: typer.Context, incomplete: str) -> Completed:
    from leads.operations.offers import list_offers

    offers = _asked(context, list_offers, lambda answer: answer.offers)
    return _beginning(incomplete, ((view.offer.id, ", ".join(view.offer.titles)) for view in offers))


def connection_ids(context: typer.Context, incomplete: str) -> Completed:
    from leads.operations.connections import list_connections

    found = _asked(context, list_connections, lambda answer: answer.connections)
    return _beginning(incomplete, ((view.id, f"{view.type} {view.host}") for view in found))


def states(incomplete: str) -> Completed:
    from leads.core.states import State

    return _beginning(incomplete, ((state, "") for state in State))


def stages(incomplete: str) -> Completed:
    from leads.core.lead import Stage

    return _beginning(incomplete, ((stage, "") for stage in Stage))


def destination_types(incomplete: str) -> Completed:
    from leads.destinations import MODULES

    return _beginning(incomplete, ((name, "") for name in sorted(MODULES)))


def profile_names(incomplete: str) -> Completed:
    from leads.cli.profiles import read_profiles

    return _beginning(incomplete, ((name, profile.url) for name, profile in read_profiles().apps.items()))


def _beginning(incomplete: str, words: Completed) -> Completed:
    return [(word, says) for word, says in words if word.startswith(incomplete)]


def _asked(context: typer.Context, run: Any, rows: Callable[[Any], Iterable[Any]]) -> Iterable[Any]:
    """The rows of an operation's answer. Empty if the operation fails: completion shows no errors."""
    from leads.cli.transport import reach
    from leads.operations.operation import Nothing

    try:
        transport = reach(context.find_root().params.get("app") or "", hurried=True)
        return rows(transport.ask(run, Nothing())) if transport.is_at_hand else ()
    except Exception:  # noqa: BLE001
        return ()
