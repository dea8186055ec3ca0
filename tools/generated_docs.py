"""`make docs`: writes the generated parts of documents, between `<!-- name -->` and `<!-- end of name -->`.

python -m tools.generated_docs           write
python -m tools.generated_docs --check   only check; exit status 1 if a document is outdated
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from leads.cli.program import COMMANDS, load
from leads.operations.access import BASE
from leads.operations.table import OPERATIONS
from leads.platform.events import ALARMS, Event, named

ROOT = Path(__file__).resolve().parent.parent


def alarms() -> str:
    """The table of alarms, each with the event that ends it."""
    rows = ["| Alarm | Means | Until | Fields |", "|---|---|---|---|"]
    rows += [f"| `{alarm}` | {alarm.meaning} | {_end(alarm)} | {_fields(alarm)} |" for alarm in Event if alarm.is_alarm]
    return "\n".join(rows)


def _end(alarm: Event) -> str:
    """The event that ends an alarm, and what it means."""
    end = named(alarm.ended_by)
    return f"`{end}`: {end.meaning}" if end else "repeated"


def events() -> str:
    """The table of log events that are no alarm and end none."""
    rows = ["| Event | Means | Fields |", "|---|---|---|"]
    in_alarms = ALARMS | {alarm.ended_by for alarm in ALARMS}
    rows += [f"| `{event}` | {event.meaning} | {_fields(event)} |" for event in Event if event not in in_alarms]
    return "\n".join(rows)


def _fields(event: Event) -> str:
    return ", ".join(f"`{name}`" for name in event.fields)


def operations() -> str:
    """The requests of the management API: a row for each level and for each first name that several paths have."""
    names = Counter(_first_name(each.path) for each in OPERATIONS)
    requests: dict[tuple[str, str], list[str]] = {}
    for each in OPERATIONS:
        name = _first_name(each.path)
        row = requests.setdefault((each.level, name if names[name] > 1 else ""), [])
        row.append(f"`{each.method} {each.path or BASE}`")
    rows = [f"| {level} | {', '.join(row)} |" for (level, _), row in requests.items()]
    return "\n".join([f"| Level | Requests below `{BASE}` |", "|---|---|", *rows])


def _first_name(path: str) -> str:
    return path.split("/")[1] if path else ""


def commands() -> str:
    """Every command of the command line with what it does, as its own help says."""
    rows = ["| Command | Does |", "|---|---|"]
    rows += [_command(words, command) for name in COMMANDS for words, command in _commands(name, load(name))]
    return "\n".join(rows)


def _commands(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The command with its words, or each command of a group."""
    if not hasattr(command, "commands"):
        yield words, command
    for name, each in getattr(command, "commands", {}).items():
        yield f"{words} {name}", each


def _command(words: str, command: Any) -> str:
    context = command.make_context(words, [], resilient_parsing=True)
    arguments = [piece.strip("{}") for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    return f"| `{' '.join(['leads', words, *arguments])}` | {_in_a_cell(_summary(command))} |"


def _summary(command: Any) -> str:
    """The first paragraph of a command's help."""
    return " ".join(command.help.split("\n\n")[0].split())


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


GENERATED: Mapping[str, tuple[tuple[str, Callable[[], str]], ...]] = {
    "docs/reference/http-api.md": (("operations", operations),),
    "docs/reference/events.md": (("alarms", alarms), ("events", events)),
    "docs/reference/command-line.md": (("commands", commands),),
}
"""Document → its generated parts, each with the function that makes it."""


def made(name: str, text: str) -> str:
    """A document's text with its parts generated again."""
    for part, make in GENERATED[name]:
        begin, end = f"<!-- {part} -->\n", f"\n<!-- end of {part} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{_linked_from(name, make())}{end}{after}"
    return text


def _linked_from(name: str, text: str) -> str:
    """The text with links relative to the document. In the code, links begin at the root of the repository."""
    return text.replace(f"]({name}#", "](#").replace("](docs/", "](" + "../" * (name.count("/") - 1))


def main(arguments: list[str]) -> int:
    behind = False
    for name in GENERATED:
        path = ROOT / name
        before = path.read_text()
        after = made(name, before)
        if before != after:
            behind = True
            print(f"{name} is outdated: run make docs" if "--check" in arguments else f"{name} written")
            if "--check" not in arguments:
                path.write_text(after)
    return 1 if behind and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
