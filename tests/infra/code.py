"""What the code reads, uses and says, taken from the code itself: the templates are held to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from leads.destinations.vendors.azure_table import AzureTableSettings
from leads.platform.events import Event
from leads.platform.settings import Settings
from tests.infra.bicep import ROOT

DEPLOYED = [ROOT / "function_app.py", *sorted((ROOT / "leads").rglob("*.py"))]


def settings() -> set[str]:
    """The environment variables that the app reads."""
    return {field.alias for field in Settings.model_fields.values() if field.alias}


@cache
def _parsed() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in DEPLOYED}


@cache
def _constants(suffix: str) -> dict[str, str]:
    """Module constants whose name ends so, with their texts."""
    found: dict[str, str] = {}
    for module in _parsed().values():
        for node in module.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and target.id.endswith(suffix) and isinstance(value, ast.Constant):
                found[target.id] = str(value.value)
    return found


def queues() -> set[str]:
    """The queues that the app puts on or reads, and the one that its trigger listens to."""
    listened = re.findall(r'@app\.queue_trigger\("\w+", "([\w-]+)"', (ROOT / "function_app.py").read_text())
    return set(_constants("_QUEUE").values()) | set(listened)


def tables() -> set[str]:
    """The tables of the app, and the one that an Azure Table destination writes to by default."""
    return set(_constants("_TABLE").values()) | {str(AzureTableSettings.model_fields["table"].default)}


def unnamed_storage() -> Iterator[tuple[str, str]]:
    """Where a queue or a table is opened by something else than such a constant: the file, and what it is opened by."""
    known = {*_constants("_QUEUE"), *_constants("_TABLE")}
    for path, module in _parsed().items():
        for call in ast.walk(module):
            opens = isinstance(call, ast.Call) and getattr(call.func, "attr", "") in {"queue", "table"}
            if isinstance(call, ast.Call) and opens and (named := ast.unparse(call.args[0])) not in known:
                yield str(path.relative_to(ROOT / "leads")), named


def functions() -> set[str]:
    """The names of the functions."""
    return set(re.findall(r'@app\.function_name\("(\w+)"\)', (ROOT / "function_app.py").read_text()))


def body_limits() -> dict[str, int]:
    """The most bytes of a request's body that each part takes, by its file."""
    limits = {}
    for path, module in _parsed().items():
        for node in module.body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "MAX_BODY_BYTES" and node.value:
                limits[str(path.relative_to(ROOT))] = int(eval(ast.unparse(node.value), {}))
    return limits


def reads_of_the_environment() -> Iterator[str]:
    """Places in the deployed code that read an environment variable by themselves: file and text."""
    for path in DEPLOYED:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"\b(environ|getenv)\b(?!\[\S+\] = )", line.partition("#")[0]) and "import" not in line:
                yield f"{path.relative_to(ROOT)}:{number} {line.strip()}"


def events() -> dict[str, set[str]]:
    """The events that are logged, each with its fields."""
    return {event.value: set(event.fields) for event in Event}
