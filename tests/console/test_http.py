"""The console's files as the app serves them: small, safe, cached by browsers, and identical to the published originals."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import azure.functions as func
import pytest

from leads.console import http
from tests.infra.bicep import ROOT

CONSOLE = Path(http.__file__).parent
VENDOR = json.loads((CONSOLE / "vendor" / "vendor.json").read_text())
ALLOWED = {"MIT", "Apache-2.0"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def ask(path: str = "", method: str = "GET", **headers: str) -> func.HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    address = f"http://localhost/api/console/{path}"
    return http.answer_console(
        func.HttpRequest(method, address, headers=named, route_params={"path": path} if path else {}, body=b"")
    )


def loaded() -> list[str]:
    """The files that the page loads, below the console's address."""
    return re.findall(r'(?:href|src)="/api/console/([^"]+)"', ask().get_body().decode())


@pytest.mark.parametrize("path", ["", "index.html", "app.js", "vendor/pico.css", "nothing.js"])
def test_every_answer_forbids_what_the_page_does_not_need(path: str) -> None:
    headers = ask(path).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_the_page_is_asked_for_again_each_time_and_what_it_loads_is_kept_for_a_year() -> None:
    page = ask()
    assert (page.status_code, page.mimetype, page.headers["Cache-Control"]) == (200, "text/html", "no-cache")
    assert len(loaded()) == 5
    for path in loaded():
        answer = ask(path)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable"), (
            path
        )


def test_a_file_under_an_older_release_s_address_is_the_present_one_and_not_kept() -> None:
    assert ask("0123456789abcdef/app.js").headers["Cache-Control"] == "no-cache"
    assert ask("0123456789abcdef/app.js").get_body() == ask("app.js").get_body()


def test_a_module_finds_every_other_one_that_it_imports() -> None:
    modules = list((CONSOLE / "static").glob("*.js"))
    imported = {name for path in modules for name in re.findall(r'from "([^"]+)"', path.read_text())}
    assert len(imported) > 8
    for name in imported:
        path = name.removeprefix("../") if name.startswith("../vendor/") else name.removeprefix("./")
        assert ask(path).status_code == 200, name


def test_what_the_browser_has_is_not_sent_again() -> None:
    first = ask("app.js")
    tag = first.headers["ETag"]
    for said in (tag, f"W/{tag}", f'"other", {tag}'):
        again = ask("app.js", If_None_Match=said)
        assert (again.status_code, again.get_body(), again.headers["ETag"]) == (304, b"", tag)
    assert ask("app.js", If_None_Match='"other"').status_code == 200


def test_a_browser_that_can_gets_less() -> None:
    plain, zipped = ask("app.js"), ask("app.js", Accept_Encoding="gzip, deflate, br")
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.get_body()) == plain.get_body()
    assert zipped.headers["ETag"] != plain.headers["ETag"]
    assert plain.headers["Vary"] == zipped.headers["Vary"] == "Accept-Encoding"


def test_head_says_what_get_would_without_the_file() -> None:
    head, get = ask("app.js", "HEAD"), ask("app.js")
    assert (head.status_code, head.get_body(), head.headers["ETag"]) == (200, b"", get.headers["ETag"])


@pytest.mark.parametrize(
    "path",
    [
        "../http.py",
        "vendor/../../http.py",
        "%2e%2e/http.py",
        "..\\http.py",
        "/etc/passwd",
        "vendor/vendor.json",
        "vendor",
        "a" * 9999,
    ],
)
def test_there_is_nothing_but_these_files(path: str) -> None:
    answer = ask(path)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")


# --- Files of others ---


def test_each_file_of_others_is_the_one_that_its_maker_has_published() -> None:
    files = {path.name for path in (CONSOLE / "vendor").iterdir() if path.suffix in {".js", ".css"}}
    assert files == VENDOR.keys()
    for name, facts in VENDOR.items():
        assert hashlib.sha256((CONSOLE / "vendor" / name).read_bytes()).hexdigest() == facts["sha256"], name
        assert facts["integrity"].startswith("sha512-") and re.fullmatch(r"\d+\.\d+\.\d+", facts["version"])


def test_what_judges_accessibility_is_the_file_that_its_maker_has_published() -> None:
    """`axe.min.js` of axe-core 4.14.1 on the npm registry."""
    axe = (Path(__file__).parent / "axe.min.js").read_bytes()
    assert axe.startswith(b"/*! axe v4.14.1\n")
    assert hashlib.sha256(axe).hexdigest() == "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


def test_each_file_of_others_comes_with_its_licence() -> None:
    texts = {path.name for path in (CONSOLE / "vendor").glob("*.txt")}
    assert texts == {text for facts in VENDOR.values() for text in facts["licences"]}
    assert {licence for facts in VENDOR.values() for licence in facts["licences"].values()} <= ALLOWED


def test_the_files_are_small() -> None:
    zipped = {path: len(gzip.compress(path.read_bytes(), 9)) for path in CONSOLE.rglob("*") if path.is_file()}
    others = sum(
        size for path, size in zipped.items() if path.parent.name == "vendor" and path.suffix in {".js", ".css"}
    )
    assert others <= 50_000
    assert sum(size for path, size in zipped.items() if path.suffix != ".pyc") <= 120_000, (
        "in the package that is deployed"
    )


def test_nothing_comes_from_another_host() -> None:
    for path in (CONSOLE / "static").iterdir():
        found = set(re.findall(r"https?://[\w.]+", path.read_text())) - {"http://www.w3.org"}  # the name of SVG
        assert not found, path.name


def test_a_cold_start_of_the_intake_does_not_import_it() -> None:
    code = "import function_app, sys; print([name for name in sys.modules if name.startswith('leads.console')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
