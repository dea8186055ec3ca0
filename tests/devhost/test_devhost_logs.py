"""Log records of the app: those that the real worker and host print, and no others."""

from __future__ import annotations

import re
import time

import pytest
import requests

from tests.devhost.conftest import Start


@pytest.mark.parametrize("in_process", [False, True], ids=["worker process", "in process"])
def test_what_an_invocation_logs_arrives_from_info_on_and_what_a_foreign_thread_logs_is_dropped(
    in_process: bool, start_devhost: Start
) -> None:
    devhost = start_devhost("--no-queues", "--no-timers", in_process=in_process)
    assert requests.get(f"{devhost.base_url}/api/log", timeout=120).text == "logged"
    assert devhost.says("ValueError: invalid literal")
    time.sleep(1.5)  # the app logs once more, a second after the end of the invocation
    said = devhost.log
    assert re.search(r"^\S+ INFO log a_library: at INFO$", said, re.MULTILINE)
    assert re.search(r'^\S+ WARNING log sample: event=something \{"name": "value"\}$', said, re.MULTILINE)
    assert re.search(
        r"^\S+ ERROR log sample: it failed\nTraceback .*\n( .*\n)+ValueError: invalid literal.*$", said, re.MULTILINE
    )
    assert "INFO log a_library: of a thread with its context" in said
    assert "at DEBUG" not in said
    assert "after the end of the invocation" not in said
    assert "of a thread of no invocation" not in said
