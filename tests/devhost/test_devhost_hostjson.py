"""The supported settings of host.json, and their defaults."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devhost.errors import StartError
from devhost.hostjson import HostJson, parse_host_json, read_host_json, seconds


def queues(**settings: object) -> HostJson:
    return parse_host_json({"version": "2.0", "extensions": {"queues": settings}})


def test_defaults_are_those_of_the_azure_functions_host() -> None:
    host = parse_host_json({"version": "2.0"})
    assert host.route_prefix == "api"
    assert host.function_timeout == 1800
    assert host.queues.batch_size == 16
    assert host.queues.new_batch_threshold == 8 * (os.cpu_count() or 1)
    assert host.queues.max_dequeue_count == 5
    assert host.queues.visibility_timeout == 0
    assert host.queues.max_polling_interval == 60
    assert host.queues.message_encoding == "base64"


def test_every_setting_is_read() -> None:
    host = parse_host_json(
        {
            "version": "2.0",
            "functionTimeout": "00:05:00",
            "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
            "extensions": {
                "http": {"routePrefix": "/in/"},
                "queues": {
                    "batchSize": 32,
                    "newBatchThreshold": 0,
                    "maxDequeueCount": 10,
                    "visibilityTimeout": "00:00:30",
                    "maxPollingInterval": "00:00:01.5",
                    "messageEncoding": "none",
                },
            },
        }
    )
    assert (host.route_prefix, host.function_timeout) == ("in", 300)
    assert (host.queues.batch_size, host.queues.new_batch_threshold, host.queues.max_parallel) == (32, 0, 32)
    assert (host.queues.max_dequeue_count, host.queues.visibility_timeout) == (10, 30)
    assert (host.queues.max_polling_interval, host.queues.message_encoding) == (1.5, "none")


def test_the_threshold_follows_the_batch_size_and_there_may_be_no_time_limit() -> None:
    assert parse_host_json({"version": "2.0", "functionTimeout": "-1"}).function_timeout is None
    assert queues(batchSize=10).queues.new_batch_threshold == 5 * (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, "version"),
        ({"version": "1.0"}, "version"),
        ([], "the file"),
        ({"version": "2.0", "functionTimeout": "5"}, "functionTimeout"),
        ({"version": "2.0", "extensions": {"queues": {"batchSize": 33}}}, "extensions.queues.batchSize"),
        ({"version": "2.0", "extensions": {"queues": {"batchSize": 0}}}, "extensions.queues.batchSize"),
        ({"version": "2.0", "extensions": {"queues": {"maxDequeueCount": 0}}}, "maxDequeueCount"),
        ({"version": "2.0", "extensions": {"queues": {"maxPollingInterval": "00:00:00.01"}}}, "maxPollingInterval"),
        ({"version": "2.0", "extensions": {"queues": {"visibilityTimeout": 30}}}, "visibilityTimeout"),
        ({"version": "2.0", "extensions": {"queues": {"messageEncoding": "utf8"}}}, "messageEncoding"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(content: object, named: str) -> None:
    with pytest.raises(StartError) as caught:
        parse_host_json(content)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no host\.json"):
        read_host_json(tmp_path)
    (tmp_path / "host.json").write_text("{")
    with pytest.raises(StartError, match="not JSON"):
        read_host_json(tmp_path)


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_time_spans(days: int, hours: int, minutes: int, secs: int) -> None:
    assert seconds(f"{days}.{hours:02}:{minutes:02}:{secs:02}") == ((days * 24 + hours) * 60 + minutes) * 60 + secs


@given(st.one_of(st.text(), st.integers(), st.none()))
def test_any_other_value_is_refused_not_guessed(value: object) -> None:
    try:
        assert seconds(value) >= 0
    except ValueError as error:
        assert "time span" in str(error)
