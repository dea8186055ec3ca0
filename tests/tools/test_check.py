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
        ("def test_a(): pass\ndef test_b(): assert False\n", 1, "2 passed, 1 failed, 0 skipped"),
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
    ids=["passes", "fails", "cannot be collected", "no tests", "lint fails", "would pass when tried again"],
)
def test_the_last_line_is_the_totals_of_all_checks(
    source: str, status: int, totals: str, quick: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (quick / "test_it.py").write_text(source)
    assert run_check(quick, capfd)[:2] == (status, totals)


def test_what_measures_time_is_left_out(quick: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (quick / "conftest.py").write_text(MARKERS)
    (quick / "test_it.py").write_text(
        "import pytest\ndef test_a(): pass\n@pytest.mark.real_time\ndef test_b(): assert False, 'only in a soak'\n"
    )
    assert run_check(quick, capfd)[:2] == (0, "2 passed, 0 failed, 0 skipped")


def test_quick_leaves_out_what_needs_a_server(
    quick: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICK", "1")
    (quick / "conftest.py").write_text(MARKERS)
    (quick / "test_it.py").write_text(
        "import pytest\ndef test_a(): pass\n@pytest.mark.server\ndef test_b(): assert False, 'not for a second Python'\n"
        "@pytest.mark.server\n@pytest.mark.every_python\ndef test_c(): pass\n"
    )
    assert run_check(quick, capfd)[:2] == (0, "3 passed, 0 failed, 0 skipped")
