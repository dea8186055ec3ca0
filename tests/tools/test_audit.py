"""tools/audit.py: the real pip-audit with a fake vulnerability service, because tests can't reach the real one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tools import audit
from tools.audit import CLEAN, FOUND, PLANTED, UNKNOWN, main


def _known(name: str, version: str) -> dict[str, object]:
    fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}
    affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [fixed]}]
    return {"id": f"TEST-{version}", "aliases": ["CVE-0"], "summary": "made up", "affected": affected}


@pytest.fixture
def arguments(httpserver: HTTPServer, tmp_path: Path) -> list[str]:
    return ["--vulnerability-service", "osv", "--osv-url", httpserver.url_for("/"), "--cache-dir", str(tmp_path)]


def test_every_deployed_package_is_looked_up_and_a_vulnerable_one_named_with_the_version_to_take(
    httpserver: HTTPServer, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (audit.ROOT / "requirements.txt").read_text().split("\n")
    locked = dict(line.split()[0].split("==") for line in lines if "==" in line)
    asked: list[tuple[str, str]] = []

    def answer(request: Request) -> Response:
        pin = (request.get_json(force=True)["package"]["name"], request.get_json(force=True)["version"])
        asked.append(pin)
        return Response(json.dumps({"vulns": [_known(*pin)]} if pin in {PLANTED, ("idna", locked["idna"])} else {}))

    httpserver.expect_request("/", method="POST").respond_with_handler(answer)
    assert main(arguments) == FOUND
    assert {name for name, _ in asked} == {*locked, PLANTED[0]}
    printed = capsys.readouterr().out
    assert f"idna {locked['idna']}: CVE-0, TEST-{locked['idna']}; fixed in 99" in printed
    assert "the planted pin was found; known of requirements.txt: 1" in printed


def test_a_service_that_fails_is_said_so(
    httpserver: HTTPServer, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    httpserver.expect_request("/", method="POST").respond_with_data(status=503)
    assert main(arguments) == UNKNOWN
    assert capsys.readouterr().err.startswith("audit: pip-audit has failed: ")


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has pip-audit report these packages, one list a run."""

    def report(*runs: list[dict[str, object]]) -> None:
        left = iter(runs)

        def write(command: list[str], **_: object) -> None:
            file = Path(command[command.index("--output") + 1])
            file.write_text(json.dumps({"dependencies": next(left)}))

        monkeypatch.setattr(subprocess, "run", write)

    return report


BAD: dict[str, object] = {
    "name": "urllib3",
    "version": "1.24.1",
    "vulns": [{"id": "P", "aliases": [], "fix_versions": []}],
}
GOOD: dict[str, object] = {"name": "urllib3", "version": "2.7.0", "vulns": []}


def test_where_nothing_is_known_but_of_the_planted_pin_the_status_is_0(
    reported: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    reported([BAD], [GOOD])
    assert main([]) == CLEAN
    assert "the planted pin was found; known of requirements.txt: 0" in capsys.readouterr().out


def test_a_service_that_knows_nothing_is_not_believed(
    reported: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    reported([GOOD])
    assert main([]) == UNKNOWN
    assert "pip-audit did not find the planted urllib3==1.24.1" in capsys.readouterr().err


@pytest.mark.parametrize("second", [[], [{"name": "urllib3", "skip_reason": "not found"}]])
def test_a_package_that_can_not_be_looked_up_is_no_pass(
    reported: Callable[..., None], second: list[dict[str, object]]
) -> None:
    """If PyPI does not answer, pip-audit skips the package, and its exit status is 0."""
    reported([BAD], second)
    assert main([]) == UNKNOWN
