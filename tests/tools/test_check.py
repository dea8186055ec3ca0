"""tools/check.py, `make test`: the totals in its last line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import check
from tools.check import Totals, read_report

REPORT = """<testsuites><testsuite>
  <testcase classname="tests.a" name="passes"/>
  <testcase classname="tests.a" name="skips"><skipped message="no bicep"/></testcase>
  <testcase classname="tests.a" name="fails"><failure message="assert"/></testcase>
  <testcase classname="tests.a" name="does_not_start"><error message="fixture"/></testcase>
  <testcase classname="tests.a" name="does_not_end"/>
  <testcase classname="tests.a" name="does_not_end"><error message="fixture"/></testcase>
</testsuite></testsuites>"""

MARKERS = """def pytest_configure(config):
    for name in ("real_time", "server", "every_python"):
        config.addinivalue_line("markers", f"{name}: x")
"""
CHOSEN = """import pytest
def test_a(): pass
@pytest.mark.real_time
def test_b(): assert False, "only in a soak"
@pytest.mark.server
def test_c(): assert False, "not for a second Python"
@pytest.mark.server
@pytest.mark.every_python
def test_d(): pass
"""


def test_every_test_is_counted_once_and_errors_are_failures() -> None:
    assert read_report(REPORT) == Totals(passed=1, failed=3, skipped=1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two checks instead of lint, format and types, and tests in a separate folder, in one process."""
    monkeypatch.setattr(check, "static_checks", lambda: {"lint": ["compileall", "-q", str(tmp_path)]})
    monkeypatch.setattr(check, "WORKERS", 0)
    monkeypatch.delenv("QUICK", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # plugins cost pytest some seconds each time
    return tmp_path


def run_check(folder: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, last line, and the whole output."""
    status = check.main([str(folder), f"--rootdir={folder}", "-p", "xdist.plugin"])
    printed = capfd.readouterr().out
    return status, printed.splitlines()[-1], printed


@pytest.mark.parametrize(
    ("source", "status", "totals"),
    [
        (
            "import pytest\ndef test_a(): pass\ndef test_b(): pass\n@pytest.mark.skip\ndef test_c(): pass\n",
            0,
            "3 passed, 0 failed, 1 skipped",
        ),
        ("import no_such_module\n", 1, "1 passed, 1 failed, 0 skipped"),
        ("", 1, "1 passed, 1 failed, 0 skipped"),
        ("def\n", 1, "0 passed, 2 failed, 0 skipped"),
        (
            "from pathlib import Path\ndef test_a():\n    tried = Path(__file__).with_name('tried')\n"
            "    assert tried.exists() or tried.touch()\n",
            1,
            "1 passed, 1 failed, 0 skipped",
        ),
    ],
    ids=["passes", "cannot be collected", "no tests", "lint fails", "would pass when tried again"],
)
def test_the_last_line_is_the_totals_of_all_checks(
    source: str, status: int, totals: str, quick: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (quick / "test_it.py").write_text(source)
    assert run_check(quick, capfd)[:2] == (status, totals)


@pytest.mark.parametrize(
    ("quick_run", "status", "totals"), [("0", 1, "3 passed, 1 failed"), ("1", 0, "3 passed, 0 failed")]
)
def test_what_measures_time_is_left_out_and_for_a_second_python_what_needs_a_server(
    quick_run: str,
    status: int,
    totals: str,
    quick: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUICK", quick_run)
    (quick / "conftest.py").write_text(MARKERS)
    (quick / "test_it.py").write_text(CHOSEN)
    assert run_check(quick, capfd)[:2] == (status, f"{totals}, 0 skipped")
