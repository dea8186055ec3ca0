"""Shell commands of the documents and of the code: they exist, show no secret, and the next deployment leaves what they do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from leads.cli.connect import where_secrets_go
from leads.cli.program import COMMANDS, load
from tests.test_docs import PAGES, ROOT

SOURCES = [*ROOT.glob("leads/**/*.py"), *ROOT.glob("infra/*.bicep")]

# The commands of az that the documents and the code name, and their options by the reference of release 2.91
# (https://learn.microsoft.com/cli/azure/reference-index). `--query` and `--output` are every command's.
APP = {"--resource-group", "--name"}
AZ = {
    "account get-access-token": {"--resource"},
    "ad app create": {
        *("--display-name", "--sign-in-audience", "--app-roles", "--web-redirect-uris", "--enable-id-token-issuance"),
    },
    "ad app update": {"--id", "--identifier-uris"},
    "ad signed-in-user show": set(),
    "ad sp create": {"--id"},
    "deployment sub create": {"--name", "--location", "--parameters"},
    "functionapp deployment source config-zip": set(),
    "functionapp function keys delete": APP | {"--function-name", "--key-name"},
    "functionapp function keys list": APP | {"--function-name", "--subscription"},
    "functionapp function keys set": APP | {"--function-name", "--key-name"},
    "functionapp list-flexconsumption-locations": set(),
    "functionapp restart": APP,
    "functionapp show": APP,
    "functionapp start": APP,
    "functionapp stop": APP,
    "group delete": {"--name"},
    "keyvault recover": {"--name"},
    "keyvault secret recover": {"--vault-name", "--name"},
    "keyvault secret set": {"--vault-name", "--name", "--file", "--encoding"},
    "lock delete": {"--name", "--resource-group", "--resource-type", "--resource"},
    "login": set(),
    "monitor scheduled-query list": {"--resource-group"},
    "provider register": {"--namespace"},
    "rest": {"--method", "--url", "--body"},
    "storage entity query": {"--auth-mode", "--account-name", "--table-name"},
}

# Those of azd, by its own help (Azure/azure-dev, cli/azd/cmd/testdata/TestUsage-azd-*.snap).
AZD = {
    "auth login": {"--tenant-id", "--use-device-code"},
    "deploy": {"--from-package"},
    "down": {"--force", "--purge"},
    "env get-values": set(),
    "env new": {"--location", "--subscription"},
    "env set": set(),
    "up": set(),
}

# Those of Azure Functions Core Tools, by their source (Azure/azure-functions-core-tools, src/Cli/func/Actions:
# PublishFunctionAppAction.cs, StartHostAction.cs; for the language Helpers/GlobalCoreToolsSettings.cs).
FUNC = {
    "azure functionapp publish": {"--no-build", "--python"},
    "start": {"--enableAuth", "--port"},
}

PROGRAMS: dict[str, dict[str, set[str]]] = {"az": AZ, "azd": AZD, "func": FUNC}
EVERYWHERE = {"az": {"--query", "--output"}, "azd": {"--environment", "--no-prompt"}, "func": set[str]()}
LONG = {"-g": "--resource-group", "-n": "--name", "-o": "--output"}
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STARTS = ("az", "azd", "curl", "func", "git", "npx", "printf", "read")
UNSAFE = {
    "a secret as an argument": r"--value\b|--key-value\b|\s--settings\s",
    "a file that is named -": r"--file -(?![\w-])",
    "a publish that builds in Azure": r"\bconfig-zip\s+-",
    "an app setting that the next deployment removes": r"\bappsettings set\b",
    "a key as an argument": r"curl\b[^|]*(-H|--header) ?[\"'][\w-]*(key|authorization)\b|curl\b[^|]*[?&]code=(?!wrong)",
}


def shell_lines(text: str) -> Iterator[str]:
    """The shell commands of a document: in fenced and indented blocks, and in backquotes. Continued lines are one."""
    blocks = "\n".join(BLOCK.findall(text))
    indented = re.findall(r"^ {4,}\S.*$", BLOCK.sub("", text), re.MULTILINE)
    inline = [found.replace("\n", " ") for found in re.findall(r"`([^`]+)`", BLOCK.sub("", text))]
    for line in [
        *re.sub(r"(\\|\|)\n\s*", r"\1 ", "\n".join([blocks, *indented])).replace("\\ ", " ").splitlines(),
        *inline,
    ]:
        words = line.split()
        if words and (words[0] in STARTS or re.search(r"(?<![\w=])(az|azd|func) [a-z]", line)):
            yield line.strip()


def calls(line: str) -> Iterator[tuple[str, list[str]]]:
    """Each call of a program of `PROGRAMS` within a line: the program, and the words up to the end of the command."""
    inner = re.compile(r"\$\(([^)]*)\)")
    for part in [*inner.findall(line), inner.sub("…", line)]:
        for program, call in re.findall(r"(?<![\w=])(az|azd|func) ([a-z][^|;#&]*)", part):
            yield program, re.sub("[\"'`()]", " ", call).split()


def leads_calls(text: str) -> Iterator[list[str]]:
    """Each call of the program `leads` in a document: its words up to the end of the command."""
    code = "\n".join([*BLOCK.findall(text), *re.findall(r"^ {4,}\S.*$", BLOCK.sub("", text), re.MULTILINE)])
    inline = [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", BLOCK.sub("", text))]
    for line in [*re.sub(r"\\\n\s*", " ", code).splitlines(), *inline]:
        line = re.sub(r'"\$\([^)]*\)"', "…", line)
        if called := re.match(r"\s*(?:\$ )?(?:\S*python -m )?leads ((?:--app |[a-z])[^|;#&>]*)", line):
            yield re.sub("[\"'`]", " ", called[1]).split()


def unknown_in(words: list[str]) -> list[str]:
    """What of a call of `leads` its command line does not know: a command, or an option."""
    while words and words[0] == "--app":
        words = words[2:]
    if not words or words[0] not in COMMANDS:
        return [f"leads {word}" for word in words[:1]]
    name, command, rest = words[0], load(words[0]), words[1:]
    if hasattr(command, "commands"):
        if not rest or rest[0] not in command.commands:
            return [f"leads {name} {rest[0]}"] if rest else []
        name, command, rest = f"{name} {rest[0]}", command.commands[rest[0]], rest[1:]
    known = {option for param in command.params for option in param.opts} | {"--help", "--json", "--csv"}
    used = [word.partition("=")[0] for word in rest if re.match("--?[a-z]", word)]
    return [f"leads {name} {option}" for option in used if option not in known]


def wrong_with(line: str) -> list[str]:
    """What is unsafe or unknown in a shell command."""
    told = [name for name, pattern in UNSAFE.items() if "127.0.0.1" not in line and re.search(pattern, line, re.I)]
    for program, words in calls(line):
        name = next((known for known in PROGRAMS[program] if words[: len(known.split())] == known.split()), None)
        if name is None:
            told.append(f"{program} {' '.join(words)}: not among the commands that were looked up")
            continue
        used = {LONG.get(word, word) for word in words if re.fullmatch(r"--?[a-z][a-zA-Z-]*", word)}
        told += [f"{program} {name} {option}" for option in used - PROGRAMS[program][name] - EVERYWHERE[program]]
        if name == "keyvault secret set" and not {"--file", "--encoding", "--output"} <= used:
            told.append("az keyvault secret set prints the secret, or takes it from no file")
    return told


@pytest.mark.parametrize(
    "line",
    [
        'az keyvault secret set --vault-name VAULT --name a --value "$SECRET" --output none',
        "az keyvault secret set --vault-name VAULT --name a --file - --encoding utf-8 --output none",
        "az keyvault secret set --vault-name VAULT --name a --file /dev/stdin --encoding utf-8",
        'az functionapp config appsettings set -g GROUP -n APP --settings NAME="$SECRET"',
        "az functionapp function keys set -g GROUP -n APP --function-name accept_lead --key-name a --key-value KEY",
        "az functionapp stop --app APP",
        "az functionapp deployment source config-zip --resource-group GROUP --name APP --src dist/app.zip",
        "azd env put LEADS_ALERT_EMAILS on-call@example.com",
        "azd up --force",
        "func azure functionapp deploy APP",
        "(cd dist/app && func azure functionapp publish APP --python --zip)",
        "func start --auth",
        "curl 'https://APP.azurewebsites.net/api/leads?code=KEY'",
        'curl https://APP.azurewebsites.net/api/manage -H "x-functions-key: $LEADS_APP_KEY"',
    ],
)
def test_a_command_that_does_not_do_is_found(line: str) -> None:
    assert list(shell_lines(f"a `{line}` b")) == [line]
    assert list(shell_lines(f"a\n\n    {line}\n\nb")) == [line]
    assert wrong_with(line)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shell_command_of_a_document_exists_and_shows_no_secret(path: Path) -> None:
    assert {line: told for line in shell_lines(path.read_text()) if (told := wrong_with(line))} == {}


@pytest.mark.parametrize(
    "path", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_call_of_the_command_line_in_a_document_has_commands_and_options_that_there_are(path: Path) -> None:
    assert [told for words in leads_calls(path.read_text()) for told in unknown_in(words)] == []


@pytest.mark.parametrize(
    "call",
    ["leads lists", "leads leads lost", "leads --app prod status --fast", "python -m leads offers test ID --now"],
)
def test_a_call_of_the_command_line_that_does_not_do_is_found(call: str) -> None:
    assert [told for words in leads_calls(f"a `{call}` b") for told in unknown_in(words)]
    assert [told for words in leads_calls(f"```bash\n{call}\n```\n") for told in unknown_in(words)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_that_the_code_names_is_unsafe(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if re.search(r"\b(az|curl|git) [a-z-]", line)]
    assert {line: told for line in lines if (told := [name for name in UNSAFE if re.search(UNSAFE[name], line)])} == {}


@pytest.mark.parametrize(
    ("reference", "secret"), [("keyvault:crm-hook", "crm-hook"), ("env:LEADS_SECRET_a.b", "leads-secret-a-b")]
)
def test_the_command_that_stores_a_secret_takes_it_from_its_input(reference: str, secret: str) -> None:
    told = list(where_secrets_go({"Authorization": reference}))
    (line,) = [line for line in shell_lines("\n".join(told)) if "az keyvault" in line]
    assert wrong_with(line) == []
    assert shlex.split(line.partition("az ")[2])[3:7] == ["--vault-name", "VAULT", "--name", secret]
    (shown,) = [
        line for line in shell_lines((ROOT / "docs/reference/configuration.md").read_text()) if "az keyvault" in line
    ]
    assert line.replace(secret, "crm-secret", 1) == shown, "the documents show the same command"


def test_a_setting_of_the_deployed_app_is_said_to_be_the_deployments() -> None:
    told = " ".join(where_secrets_go("env:LEADS_SECRET_ERP"))
    assert '"LEADS_SECRET_ERP": "leads-secret-erp"' in told
    assert "keyVaultSettings" in told


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_partner_centers_list_is_downloaded(path: Path) -> None:
    """Microsoft Learn, "Bulk operations for Leads using comma-separated value (CSV) files"."""
    assert (
        re.findall(r"Referrals > Leads[^.]{0,20}\bexport\w*|\bexport\w* Partner Center", path.read_text(), re.I) == []
    )
