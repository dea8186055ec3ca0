"""tools/audit.py: the real pip-audit with a fake vulnerability service, because tests can't reach the real one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tools import audit
from tools.audit import CLEAN, FOUND, PLANTED, UNKNOWN, main


class Service:
    """A fake OSV service. `vulnerable`: the pins with a vulnerability. `asked`: all requested pins."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("/v1/query")
        self.vulnerable = {PLANTED}
        self.asked: list[tuple[str, str]] = []
        self.status = 200
        server.expect_request("/v1/query", method="POST").respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        asked = request.get_json(force=True)
        pin = (asked["package"]["name"], asked["version"])
        self.asked.append(pin)
        return Response(json.dumps({"vulns": [_known(*pin)]} if pin in self.vulnerable else {}), self.status)


def _known(name: str, version: str) -> dict[str, object]:
    fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}
    affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [fixed]}]
    return {"id": f"TEST-{version}", "aliases": ["CVE-0"], "summary": "made up", "affected": affected}


@pytest.fixture
def service(httpserver: HTTPServer) -> Service:
    return Service(httpserver)


@pytest.fixture
def arguments(service: Service, tmp_path: Path) -> list[str]:
    return ["--vulnerability-service", "osv", "--osv-url", service.url, "--cache-dir", str(tmp_path)]


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of two pins, one with a hash."""
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"requests==2.34.2 \\\n    --hash=sha256:{'0' * 64}\nidna==3.20 \\\n    --hash=sha256:{'1' * 64}\n")
    monkeypatch.setattr(audit, "ROOT", tmp_path)
    return lock


def test_every_deployed_package_is_looked_up(
    service: Service, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == CLEAN
    locked = {
        line.partition("==")[0] for line in (audit.ROOT / "requirements.txt").read_text().split("\n") if "==" in line
    }
    assert {name for name, _ in service.asked} == locked | {PLANTED[0]}
    assert "the planted pin was found; known of requirements.txt: 0" in capsys.readouterr().out


def test_a_vulnerable_package_is_named_with_the_version_to_take(
    service: Service, arguments: list[str], pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.vulnerable.add(("idna", "3.20"))
    assert main(arguments) == FOUND
    assert "idna 3.20: CVE-0, TEST-3.20; fixed in 99" in capsys.readouterr().out


def test_a_service_that_knows_nothing_is_not_believed(
    service: Service, arguments: list[str], pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.vulnerable.clear()
    assert main(arguments) == UNKNOWN
    assert "pip-audit did not find the planted urllib3==1.24.1" in capsys.readouterr().err
    assert service.asked == [PLANTED]


def test_a_service_that_fails_is_said_so(
    service: Service, arguments: list[str], pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.status = 503
    assert main(arguments) == UNKNOWN
    assert capsys.readouterr().err.startswith("audit: pip-audit has failed: ")


def test_a_package_that_can_not_be_looked_up_is_no_pass(pins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If PyPI does not answer, pip-audit skips the package, and its exit status is 0."""

    def skipping(command: list[str], **options: object) -> object:
        report = Path(command[command.index("--output") + 1])
        report.write_text(json.dumps({"dependencies": [{"name": "urllib3", "skip_reason": "not found"}]}))
        return None

    monkeypatch.setattr(subprocess, "run", skipping)
    assert main([]) == UNKNOWN
