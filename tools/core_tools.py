"""Azure Functions Core Tools: the real host on this machine, with known keys.

Without `--enableAuth`, Core Tools accept every caller. With it, the host checks keys as in Azure. Sources:
azure-functions-core-tools, `StartHostAction.cs` and `SelfHostWebHostSettingsFactory.cs`; azure-functions-host,
`FileSystemSecretsRepository.cs`, `ScriptSecretSerializerV1.cs` and `KeysController.cs`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HTTP_FUNCTION = re.compile(r'@app\.function_name\("(\w+)"\)\n@app\.route\(')
PRELOADING_APP = '''\
"""The app of {root}, after modules that it does not import itself."""

import importlib
import importlib.util
import sys

sys.path.insert(0, {root!r})
for module in {modules!r}:
    importlib.import_module(module)
spec = importlib.util.spec_from_file_location("app_itself", {root!r} + "/function_app.py")
loaded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loaded)
app = loaded.app
'''

# The host is on this machine, so requests must not go through a proxy.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AdminError(Exception):
    """The host does not return its keys. The text says in one line why."""


def command(func: str, port: int, only_http: bool) -> list[str]:
    """The command line of `func start`, which listens on 127.0.0.1. With `only_http`, only HTTP functions are loaded."""
    line = [func, "start", "--port", str(port), "--enableAuth"]
    return [*line, "--functions", *http_functions()] if only_http else line


def http_functions() -> list[str]:
    """The names of the app's HTTP functions."""
    return HTTP_FUNCTION.findall((ROOT / "function_app.py").read_text())


def environment(port: int, temporary: Path) -> dict[str, str]:
    """The host's environment besides the app settings. `temporary`: its folder for temporary files and keys."""
    return {
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(temporary),
        "AzureWebJobsSecretStorageType": "files",
        # Otherwise Core Tools use the name localhost, which can be another address than 127.0.0.1.
        "WEBSITE_HOSTNAME": f"127.0.0.1:{port}",
        # Hosts on one storage account are instances of one app. By default, each folder is a different app.
        "AzureFunctionsWebHost__hostid": "marketplace-leads",
        # Otherwise each new folder beside function_app.py restarts the host.
        "AzureFunctionsJobHost__fileWatchingEnabled": "false",
        # Otherwise Core Tools set the worker's root logger to DEBUG; in Azure it is INFO.
        "PYTHON_ENABLE_DEBUG_LOGGING": "0",
        "FUNCTIONS_CORE_TOOLS_TELEMETRY_OPTOUT": "1",
    }


def seed_keys(temporary: Path, key: str) -> str:
    """Write the host's key files. `key` opens every function. Returns a random master key."""
    master = secrets.token_urlsafe(32)
    folder = temporary / "secrets/functions/secrets"
    folder.mkdir(parents=True)
    keys = {
        "masterKey": {"name": "master", "value": master, "encrypted": False},
        "functionKeys": [{"name": "default", "value": key, "encrypted": False}],
        "systemKeys": [],
    }
    (folder / "host.json").write_text(json.dumps(keys))
    return master


def preloading_app(folder: Path, modules: Sequence[str]) -> Path:
    """Make a folder with an app that imports `modules` before the real app, as `python -m devhost --with` does."""
    folder.mkdir()
    shutil.copy(ROOT / "host.json", folder)
    (folder / "function_app.py").write_text(PRELOADING_APP.format(root=str(ROOT), modules=list(modules)))
    return folder


def function_keys(base_url: str, master: str) -> dict[str, str]:
    """Function's name → its own key, from the host's admin API. The host creates missing keys.

    Raises AdminError if the host does not answer, or refuses the master key.
    """
    names = [function["name"] for function in _admin(base_url, "functions", master)]
    return {name: _own_key(_admin(base_url, f"functions/{urllib.parse.quote(name)}/keys", master)) for name in names}


def host_key(base_url: str, master: str) -> str:
    """The key that opens every function. Raises AdminError as `function_keys` does."""
    return _own_key(_admin(base_url, "host/keys", master))


def _own_key(answer: dict[str, Any]) -> str:
    return str(answer["keys"][0]["value"])


def _admin(base_url: str, path: str, master: str) -> Any:
    request = urllib.request.Request(f"{base_url}/admin/{path}", headers={"x-functions-key": master})
    try:
        with HTTP.open(request, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as refusal:
        with refusal:
            raise AdminError(f"{base_url}/admin/{path} answered {refusal.code}: is the master key right?") from None
    except (OSError, ValueError) as error:
        raise AdminError(f"{base_url}/admin/{path} did not answer as a Functions host does: {error}") from None
