"""The functions that each key opens."""

from __future__ import annotations

import pytest

from devhost.keys import Keys

KEYS = Keys.create("host key", ["one", "two"])


@pytest.mark.parametrize(
    ("level", "key", "allowed"),
    [
        ("anonymous", None, True),
        ("function", None, False),
        ("function", "", False),
        ("function", "wrong", False),
        ("FUNCTION", KEYS.host, True),
        ("function", KEYS.functions["one"], True),
        ("function", KEYS.functions["two"], False),
        ("function", KEYS.master, True),
        ("admin", KEYS.host, False),
        ("admin", KEYS.functions["one"], False),
        ("admin", KEYS.master, True),
    ],
)
def test_function_one_opens_to(level: str, key: str | None, allowed: bool) -> None:
    assert KEYS.allows(level, "one", key) is allowed


def test_a_random_host_key_is_made_each_time() -> None:
    assert Keys.create(None, []).host != Keys.create(None, []).host


def test_hosts_that_share_a_host_key_share_all_keys() -> None:
    assert Keys.create("host key", ["one", "two"]) == KEYS
    assert Keys.create("another", ["one"]).functions["one"] != KEYS.functions["one"]


def test_a_key_that_is_not_ascii_is_only_wrong() -> None:
    assert KEYS.allows("function", "one", "schlüssel") is False


def test_a_key_that_was_right_once_is_right_in_any_letter_case_for_that_function() -> None:
    keys = Keys.create("Host Key", ["one", "two"])
    assert not keys.allows("function", "one", "HOST KEY")
    assert keys.allows("function", "one", "Host Key")
    assert keys.allows("function", "one", "HOST KEY")
    assert not keys.allows("function", "two", "HOST KEY")
    assert not keys.allows("admin", "one", "HOST KEY")


@pytest.mark.parametrize(
    ("key", "level"),
    [(KEYS.master, "admin"), (KEYS.host, "function"), (KEYS.functions["one"], "anonymous"), ("", "anonymous")],
)
def test_what_a_key_opens_of_the_host_itself(key: str, level: str) -> None:
    assert KEYS.level(key) == level
