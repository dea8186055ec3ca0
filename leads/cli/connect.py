"""`offers connect`: set up a destination by questions or by flags. The questions come from the schema of the type."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel, JsonValue, ValidationError

from leads import destinations
from leads.cli.checks import print_validation, send_and_wait, validate_unsaved
from leads.cli.completion import destination_types
from leads.cli.exits import DONE, NEEDS_A_PERSON
from leads.cli.offers import compare, group, save_all, show_plans, stored_offer
from leads.cli.output import print_line, value_of
from leads.cli.prompts import OfferId, ask, target_of
from leads.cli.settings import Setting, settings_of
from leads.core.problems import problem_of_field
from leads.offers.model import DestinationConfig, InvalidOffer, Offer, problem_of_id
from leads.operations.destination_types import DestinationType, list_destination_types
from leads.operations.offers import ShownOffer, check_offer
from leads.operations.operation import Nothing
from leads.operations.problems import Invalid

TEST_SECONDS: Final = 60
NONE: Final = "-"
"""The answer that leaves an optional setting out."""


@group.command("connect")
def offers_connect(
    context: typer.Context,
    offer_id: OfferId = "",
    type_name: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="The destination type; `offers types` lists them.",
            autocompletion=destination_types,
        ),
    ] = "",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The destination's name within the offer; else the type's.")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SETTING=VALUE", help="A setting of the type; may be repeated. Lists and objects as JSON."
        ),
    ] = None,
    titles: Annotated[
        list[str] | None, typer.Option("--title", metavar="TITLE", help="A display name of the offer; may be repeated.")
    ] = None,
    validate: Annotated[
        bool | None, typer.Option("--validate/--no-validate", help="Check the connection before saving.")
    ] = None,
    test: Annotated[bool | None, typer.Option("--test/--no-test", help="Send a test lead afterwards.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing and use the default for each missing flag. For scripts.")
    ] = False,
) -> int:
    """Connect an offer to a destination, question by question.

    The command asks for the settings, checks the connection, saves the offer and sends a test lead.

    A new destination is added to the offer; a destination with the same name is replaced. The command saves only at the end,
    and only if the offer has not changed since it was read.

    Do not enter secrets. Enter the place of a secret: env:NAME (an app setting) or keyvault:NAME (a Key Vault secret). The
    command shows how to store the secret there.

    \b
    python -m leads offers connect
    python -m leads offers connect contoso.crm --type azure_table --set table=CrmLeads --validate --test --yes
    """
    if not yes and not sys.stdin.isatty():
        raise Invalid("--yes: is needed, because this is not a terminal; give the other settings as flags, see --help")
    dialogue = Dialogue(context, not yes, offer_id.strip(), type_name, name, _pairs(settings or []), titles or [])
    offer, stored = dialogue.offer(validate)
    if offer is None:
        print_line("Nothing was saved.")
        return NEEDS_A_PERSON
    return dialogue.finish(offer, stored, test)


def _pairs(settings: list[str]) -> dict[str, str]:
    pairs = [setting.partition("=") for setting in settings]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise Invalid("--set: write SETTING=VALUE, such as --set table=CrmLeads")
    return {name: value for name, _, value in pairs}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The questions that the flags leave open. Without `asks`, the defaults answer them."""

    context: typer.Context
    asks: bool
    given_id: str
    given_type: str
    given_name: str
    given_settings: Mapping[str, str]
    given_titles: list[str]

    def offer(self, validate: bool | None) -> tuple[Offer | None, ShownOffer | None]:
        """The offer to save, and the stored offer. None to save: unusable, and nobody is there to correct it."""
        offer_id = self._offer_id()
        stored = stored_offer(self.context, offer_id)
        titles = self.given_titles or (self._titles() if stored is None else [])
        found = self._type()
        name = self._name(found.type, stored)
        replaced = _replaced(stored, name, found.type)
        answers = self._settings(found, replaced.get("settings", {}), _decoded_all(found, self.given_settings))
        while True:
            config = replaced | {"name": name, "type": found.type, "settings": answers}
            problem = ""
            try:
                offer = _with(config, offer_id, titles, stored)
            except InvalidOffer as error:
                if not self.asks:
                    raise
                problem = str(error)
                print_line(re.sub(r"^destinations\.\d+\.settings\.", "", problem))
            if not problem and self._is_usable(offer, name, validate):
                return offer, stored
            if not self.asks:
                return None, stored
            if not problem and not typer.confirm("Change the settings?", default=True):
                return offer, stored
            answers = self._settings(found, answers, {})

    def finish(self, offer: Offer, stored: ShownOffer | None, test: bool | None) -> int:
        """Show the difference to the stored offer, save the offer, and send a test lead. Returns the exit status."""
        planned = compare(offer, stored)
        print_line("")
        show_plans([planned])
        if planned.verb != "unchanged" and not self._wants(None, f"{target_of(self.context)}: Save it?"):
            print_line("Nothing was saved.")
            return DONE
        status = save_all(self.context, [planned])
        if status == DONE and self._wants(test, "Send a test lead?", otherwise=False):
            return send_and_wait(self.context, offer.id, "INS", TEST_SECONDS)
        return status

    # The offer

    def _offer_id(self) -> str:
        if self.given_id:
            if problem := problem_of_id(self.given_id):
                raise InvalidOffer(f"id: {problem}")
            return self.given_id
        if not self.asks:
            raise Invalid("ID: is missing; name the offer")
        print_line(
            "Which offer? Its id is publisher.offer, as in Partner Center. * takes each lead that no other offer takes."
        )
        return self._ask("Offer id", lambda text: _problem(Offer, {"id": text}, "id") or problem_of_id(text))

    def _titles(self) -> list[str]:
        if not self.asks:
            return []
        print_line("")
        print_line("What is the display name of the offer in the marketplace? It routes leads that come without an id.")
        titles: list[str] = []
        while title := typer.prompt("Display name (Enter: no more)", default="", show_default=False).strip():
            titles.append(title)
        return titles

    # The destination

    def _type(self) -> DestinationType:
        types = {found.type: found for found in ask(self.context, list_destination_types, Nothing()).destination_types}
        chosen, known = self.given_type, ", ".join(types)
        if not chosen and self.asks:
            print_line("")
            print_line("Where do the leads of the offer go?")
            for found in types.values():
                print_line(f"  {found.type:<{max(map(len, types))}}  {found.description}")
            chosen = self._ask("Type", lambda text: "" if text in types else f"must be one of {known}")
        if chosen not in types:
            raise Invalid(f"--type: must be one of {known}")
        return types[chosen]

    def _name(self, type_name: str, stored: ShownOffer | None) -> str:
        if self.given_name or not self.asks:
            return self.given_name or type_name
        print_line("")
        if stored:
            taken = ", ".join(config.name for config in stored.offer.destinations)
            print_line(f"The offer has {taken}. The same name replaces a destination, and a new name adds one.")
        return self._ask(
            "Name of the destination within the offer",
            lambda text: _problem(DestinationConfig, {"name": text}, "name"),
            default=type_name,
        )

    def _settings(
        self, found: DestinationType, before: Mapping[str, JsonValue], given: Mapping[str, JsonValue]
    ) -> dict[str, JsonValue]:
        """The settings that have a value. `before`: their present values. `given`: values of flags, which need no question."""
        answers: dict[str, JsonValue] = {}
        for setting in settings_of(found):
            problem_of = partial(_problem_of_setting, found.type, setting, answers)
            value: JsonValue = None
            if setting.name in given:
                value = given[setting.name]
                if problem := problem_of(value):
                    raise Invalid(f"--set {problem}")
            elif self.asks:
                value = self._asked(setting, before.get(setting.name), problem_of)
            elif setting.required:
                raise Invalid(f"--set {setting.name}=…: is needed. {setting.description}")
            if value is not None:
                answers[setting.name] = value
        return answers

    def _asked(self, setting: Setting, before: JsonValue, problem_of: Callable[[JsonValue], str]) -> JsonValue:
        print_line("")
        print_line(f"{setting.title}: {setting.description}")
        default = before if before is not None else setting.default
        shown = default if isinstance(default, str) else "" if default is None else value_of(default)
        may_be_none = not setting.required and setting.default is None
        choices = f" ({setting.kind})" if " | " in setting.kind else ""
        hint = "" if not may_be_none else " (-: none)" if shown else " (Enter: none)"
        while True:
            question = f"{setting.name}{choices}{hint}"
            text: str = typer.prompt(question, default=shown, show_default=bool(shown)).strip()
            if may_be_none and text in {"", NONE}:
                return None
            try:
                value = _decoded(setting, text)
            except ValueError as error:
                problem = str(error)
            else:
                problem = problem_of(value)
            if not problem:
                break
            print_line(problem if text else f"{setting.name}: is needed")
        for line in where_secrets_go(value if setting.names_secrets and value != before else None):
            print_line(line)
        return None if value == setting.default else value

    def _is_usable(self, offer: Offer, name: str, validate: bool | None) -> bool:
        if not self._wants(validate, "\nCheck whether it is usable?", otherwise=False):
            return True
        found = validate_unsaved(self.context, offer, name)
        print_validation(self.context, found.destinations)
        return found.ok

    # Asking

    def _ask(self, question: str, problem_with: Callable[[str], str], default: str | None = None) -> str:
        """Ask until the answer is right."""
        while True:
            text: str = typer.prompt(question, default=default).strip()
            if not (problem := problem_with(text)):
                return text
            print_line(problem)

    def _wants(self, flag: bool | None, question: str, *, otherwise: bool = True) -> bool:
        """What a flag says, else what the person says, else `otherwise`."""
        if flag is not None:
            return flag
        return typer.confirm(question, default=True) if self.asks else otherwise


def where_secrets_go(value: JsonValue) -> Iterator[str]:
    """The command that stores the secret, for each secret reference in a value.

    The command reads the secret unseen, because others can read arguments (docs/reference/configuration.md, "Storing a
    secret").
    """
    if isinstance(value, dict):
        for inner in value.values():
            yield from where_secrets_go(inner)
    elif isinstance(value, str):
        kind, _, name = value.partition(":")
        if kind == "keyvault":
            yield "Store the secret in the Key Vault of the app setting LEADS_KEY_VAULT_URI:"
            yield from _store(name)
        elif kind == "env":
            secret = re.sub("[_.]", "-", name).lower()
            yield f"Store the secret in the Key Vault of the deployment, which sets the app setting {name} from it:"
            yield from _store(secret)
            yield f'Then add "{name}": "{secret}" to the parameter keyVaultSettings (docs/how-to/deploy.md), and deploy.'
            yield f"The next deployment removes settings that you set by hand. With keyvault:{secret} you need neither step."


def _store(secret: str) -> Iterator[str]:
    command = (
        f"az keyvault secret set --vault-name VAULT --name {secret} --file /dev/stdin --encoding utf-8 --output none"
    )
    yield '    read -rs SECRET && printf %s "$SECRET" |'
    yield f"    {command}; unset SECRET"


def _replaced(stored: ShownOffer | None, name: str, type_name: str) -> dict[str, Any]:
    """The stored destination with this name and type, {} if there is none. Its mapping, follow-up and pace stay."""
    config = stored.offer.destination(name) if stored else None
    return config.model_dump(mode="json") if config and config.type == type_name else {}


def _with(config: dict[str, Any], offer_id: str, titles: list[str], stored: ShownOffer | None) -> Offer:
    """The offer with this destination, which replaces the one of its name or comes last. Raises `InvalidOffer`."""
    data: dict[str, Any] = stored.offer.model_dump(mode="json") if stored else {"id": offer_id, "destinations": []}
    by_name = {each["name"]: each for each in data["destinations"]} | {config["name"]: config}
    titles = list(dict.fromkeys([*data.get("titles", []), *titles]))
    return check_offer(data | {"titles": titles, "destinations": list(by_name.values())})


def _decoded_all(found: DestinationType, given: Mapping[str, str]) -> dict[str, JsonValue]:
    """The values of flags. Raises `Invalid`."""
    known = {setting.name: setting for setting in settings_of(found)}
    values: dict[str, JsonValue] = {}
    for name, text in given.items():
        if name not in known:
            raise Invalid(f"--set {name}=…: {found.type} has no such setting; use {', '.join(known)}")
        try:
            values[name] = _decoded(known[name], text)
        except ValueError as error:
            raise Invalid(f"--set {error}") from None
    return values


def _decoded(setting: Setting, text: str) -> JsonValue:
    """The value of a setting as a person wrote it. Raises ValueError that names the setting."""
    if setting.is_plain:
        return text
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f'{setting.name}: must be JSON, such as {{"name": "value"}}') from None
    return value


def _problem_of_setting(type_name: str, setting: Setting, answers: Mapping[str, JsonValue], value: JsonValue) -> str:
    """What is wrong with a value, "" if nothing is. The app checks a type that only the app knows."""
    if type_name not in destinations.MODULES:
        return ""
    model = destinations.destination_class(type_name).Settings
    return _problem(model, {**answers, setting.name: value}, setting.name)


def _problem(model: type[BaseModel], values: Mapping[str, Any], name: str) -> str:
    try:
        model.model_validate(values)
    except ValidationError as error:
        return problem_of_field(error, name, model)
    return ""
