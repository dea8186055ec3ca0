"""The package that `make package` makes: complete, the same from the same commit, and run as it is deployed.

Every test is of one package, unpacked with file times that fit nothing and without the right to write.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from devhost.process import ROOT
from leads.offers.model import read_offer
from tests.e2e.conftest import app_on
from tests.infra import code
from tests.support.pipeline import a_lead, crm
from tests.support.running_app import TARGET, RunningApp, running_app
from tests.support.vendor import Vendor
from tools import package as tool
from tools.bootstrap import find
from tools.host import start
from tools.smaller import LEFT_OUT
from tools.sourceless import compiled

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="the package is for Python 3.13"),
]
runs_here = pytest.mark.skipif(
    (platform.system(), platform.machine(), platform.libc_ver()[0]) != ("Linux", "x86_64", "glibc"),
    reason="the package's compiled libraries are for x86-64 Linux",
)

UNCHECKED_HASH = (0b01).to_bytes(4, "little")
"""The flags of byte code that Python takes without a look at its source (PEP 552)."""
AIM_MEGABYTES = 30
COMPILED = """
import sys
compiled = []
sys.addaudithook(lambda event, args: event == "compile" and compiled.append(str(args[1])))
sys.path[:0] = [{app!r}, {packages!r}]
import function_app
import json
from leads.platform.build import this_build
build = this_build()
files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
ours = [name for name in compiled if name.startswith({app!r})]
print(json.dumps([ours, build.version, build.commit, len(build.packages), files]))
"""
FUNCTIONS = """
import sys
sys.dont_write_bytecode = True
sys.path[:0] = [{app!r}, {packages!r}]
import function_app
from leads.platform.unusable import packages_are_for
print([function.get_function_name() for function in function_app.app.get_functions()], packages_are_for())
"""

CALLED = (
    "tests/worker/test_bindings.py",
    "tests/worker/test_worker_library.py",
    "tests/worker/test_log.py::test_of_a_leads_whole_way_only_events_are_logged_and_nothing_leads_back_to_the_person",
    "tests/worker/test_manage.py::test_the_root_lists_the_operations_and_each_of_them_answers",
)
"""Tests that index the app and call every function and operation. The others are about what the app decides, package or not."""
IMPORTING = """
import importlib, sys
sys.path[:0] = [{app!r}, {packages!r}]
import function_app
for module, names in {imports!r}:
    imported = importlib.import_module(module)
    for name in names:
        hasattr(imported, name) or importlib.import_module(f"{{module}}.{{name}}")
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
key = rsa.generate_private_key(65537, 2048)
signed = jwt.encode({{"iss": "an-app"}}, key, "RS256")
print(jwt.decode(signed, key.public_key(), ["RS256"]))
"""
DOCUMENTED = b'''"""Of a module."""
class Lead:
    """Of a class."""
    name: str
    def send(self):
        """Of a function that does nothing."""
    async def settle(self):
        """Of one that does."""
        assert False, "kept"
'''


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return tool.make(tmp_path_factory.mktemp("dist"))
    except tool.OfflineError as error:
        pytest.skip(f"no package can be made here: {error}")


@pytest.fixture(scope="module")
def unpacked(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wwwroot")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(folder)
    paths = [folder, *folder.rglob("*")]
    for number, path in enumerate(paths):
        os.utime(path, (number, number * 7919))
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def test_it_holds_the_app_its_packages_and_nothing_that_does_not_run(made: Path) -> None:
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
        size = sum(entry.file_size for entry in archive.infolist()) / 1e6
    assert {name.partition("/")[0] for name in names} == {
        "function_app.py",
        "__pycache__",
        "host.json",
        "leads",
        ".python_packages",
    }
    sources = {name for name in names if name.endswith(".py")}
    assert all(any(name in source for name in tool.WITH_SOURCES) for source in sources if source.startswith(".python"))
    compiled = {
        name.replace("__pycache__/", "").replace(".cpython-313.pyc", ".py")
        for name in names
        if "cpython-313.pyc" in name
    }
    assert compiled == sources, "each module of the app has its byte code"
    assert not [
        name for name in names if {"tests", "pip", "bin", "cli"} & set(name.split("/")) or name.endswith(".pyi")
    ]
    console = [path for path in (ROOT / "leads/console").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {path.relative_to(ROOT).as_posix() for path in console} <= set(names)
    assert size < AIM_MEGABYTES


def test_it_says_what_is_in_it(made: Path) -> None:
    with zipfile.ZipFile(made) as archive:
        said = json.loads(archive.read("leads/build.json"))
        installed = {name.split("/")[3] for name in archive.namelist() if name.endswith(".dist-info/METADATA")}
    assert made.name == f"marketplace-leads-{said['version']}.zip"
    assert said["python"] == tool.PYTHON
    assert {f"{name.replace('-', '_')}-{version}.dist-info".lower() for name, version in said["packages"].items()} == {
        name.lower() for name in installed
    }


def test_its_byte_code_fits_whatever_the_file_times_and_names_no_folder_of_this_machine(unpacked: Path) -> None:
    files = list(unpacked.rglob("*.pyc"))
    assert len(files) > 500
    for file in files:
        content = file.read_bytes()
        assert content[4:8] == UNCHECKED_HASH, file
        assert b"/package-" not in content and str(ROOT).encode() not in content, file


def test_the_same_commit_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "APP", ("function_app.py", "host.json", "leads/core"))
    made = []
    for name in ("one", "another"):
        tree = tmp_path / name / "tree"
        (tree / tool.PACKAGES).mkdir(parents=True)
        tool.copy_app(tree)
        (tree / tool.PACKAGES / "module.py").write_text("NAMES = 'a' in {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}\n")
        tool.compile_tree(tool.python_for_target(), tree)
        tool.write_zip(tree, tmp_path / f"{name}.zip")
        made.append((tmp_path / f"{name}.zip").read_bytes())
    assert made[0] == made[1]


@runs_here
def test_a_cold_start_compiles_nothing_and_takes_everything_from_the_package(unpacked: Path) -> None:
    packages = str(unpacked / tool.PACKAGES)
    command = [sys.executable, "-S", "-I", "-c", COMPILED.format(app=str(unpacked), packages=packages)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    compiled, version, commit, count, files = json.loads(done.stdout)
    assert compiled == []
    assert (version, count) == (tool.version(), len(list(tool.wanted_packages())) - len(LEFT_OUT))
    assert commit.rstrip("+") == tool.commit().rstrip("+")
    foreign = [name for name in files if "site-packages" in name and not name.startswith(packages)]
    assert foreign == []


@runs_here
def test_whatever_the_app_imports_anywhere_is_in_the_package_and_works(unpacked: Path) -> None:
    sources = [source for source in (unpacked / "leads").rglob("*.py") if source.name != "__init__.py"]
    ours: list[tuple[str, list[str]]] = [
        (".".join(source.relative_to(unpacked).with_suffix("").parts), []) for source in sources
    ]
    imports = sorted([*ours, *(found for source in sources for found in _imports(source))])
    assert len(imports) > 1_000
    assert ("azure.identity", ["DefaultAzureCredential", "ManagedIdentityCredential"]) in imports, (
        "imported where it is used"
    )
    code = IMPORTING.format(app=str(unpacked), packages=str(unpacked / tool.PACKAGES), imports=imports)
    done = subprocess.run([sys.executable, "-S", "-I", "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{'iss': 'an-app'}\n", "")


def _imports(source: Path) -> list[tuple[str, list[str]]]:
    """What a module imports, at its top or where it is used: module and names."""
    found: list[tuple[str, list[str]]] = []
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            found += [(each.name, []) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", [each.name for each in node.names]))
    return found


def test_byte_code_without_a_source_has_no_docstrings_of_functions_and_the_same_lines() -> None:
    names: dict[str, Any] = {}
    exec(compiled(DOCUMENTED, "module"), names)
    assert [names.get("__doc__"), names["Lead"].__doc__] == [None, "Of a class."]
    assert [names["Lead"].send.__doc__, names["Lead"]().send()] == [None, None]
    assert names["Lead"].__annotations__ == {"name": str}
    with pytest.raises(AssertionError, match="kept") as caught:
        names["Lead"]().settle().send(None)
    assert caught.tb.tb_next is not None
    assert caught.tb.tb_next.tb_lineno == 9


@runs_here
def test_the_worker_library_indexes_and_calls_the_package(unpacked: Path) -> None:
    environment = os.environ | {
        "APP_DIR": str(unpacked),
        "PYTHONPATH": os.pathsep.join([str(unpacked), str(unpacked / tool.PACKAGES)]),
    }
    for name in [name for name in environment if name.startswith("PYTEST")]:
        del environment[name]
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=append"]
    command += ["-o", "pythonpath=", "-n", "0"]
    done = subprocess.run([*command, *CALLED], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


@runs_here
def test_a_lead_reaches_its_crm_through_the_package(unpacked: Path, fresh_storage: str) -> None:
    if TARGET.kind != "devhost":
        pytest.skip("the host's folder is the checkout's")
    with Vendor() as vendor:
        offer = {"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": [crm(vendor.url)]}
        app_on(fresh_storage).offers.save(read_offer(offer))
        with running_app(fresh_storage, "--app-dir", str(unpacked)) as app:
            assert set(app.host.function_keys) <= code.functions()
            lead_id = app.post(a_lead()).json()["lead_id"]
            app.wait_for(lead_id, "delivered")
            release = app.call("GET", "/api/manage/status").json()["release"]
            assert app.call("GET", "/api/health").json() == {"status": "ok"}
        assert vendor.keys() == [lead_id]
    assert release == f"{tool.version()} ({tool.commit()[:12]})"


@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_an_older_python_that_gets_the_package_has_health_alone(unpacked: Path, version: str) -> None:
    older = find(version)
    if older is None:
        pytest.skip(f"there is no Python {version} here")
    code = FUNCTIONS.format(app=str(unpacked), packages=str(unpacked / tool.PACKAGES))
    done = subprocess.run([older.path, "-S", "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout == f"['health'] {tool.PYTHON}\n", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(…)': /simple/six/\n"
            "ERROR: No matching distribution found for six==1.17.0\n",
            tool.OfflineError,
        ),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n", tool.PackageError),
        ("", tool.PackageError),
    ],
    ids=["no network", "another hash", "nothing said"],
)
def test_only_a_missing_network_counts_as_offline(
    said: str, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the packages can't be downloaded the tests of the package are skipped; whatever else is wrong fails them."""
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr=said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(tool.PackageError) as caught:
        tool.install_packages(tmp_path)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@runs_here
def test_with_the_wrong_python_health_says_so_and_nothing_else_is_there(
    unpacked: Path, fresh_storage: str, tmp_path: Path
) -> None:
    """As a remote build by another Python leaves it: the compiled packages are for that one."""
    if TARGET.kind != "devhost":
        pytest.skip("the host's folder is the checkout's")
    other = shutil.copytree(unpacked, tmp_path / "wwwroot", copy_function=os.link)
    (library,) = (other / tool.PACKAGES / "pydantic_core").glob("*.so")
    library.parent.chmod(0o755)
    library.rename(library.with_name(library.name.replace("cpython-313", "cpython-311")))
    settings = {"LeadsStorage": fresh_storage, "AzureWebJobsStorage": fresh_storage}
    host = start("devhost", 0, "a-key", settings, tmp_path, devhost_options=["--app-dir", str(other)])
    try:
        answer = RunningApp(host).call("GET", "/api/health", key="")
        assert answer.status == 503
        assert "the packages are for 3.11 " in answer.json()["detail"]
        assert RunningApp(host).post(a_lead()).status == 404
        assert host.says("event=packages_unusable")
    finally:
        host.stop()
