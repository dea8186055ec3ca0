"""tools/target.py: the host for tests and tools."""

from __future__ import annotations

import pytest

from tools.host import RunError
from tools.target import Target, read_target

ADDRESS = {"HOST": "http://127.0.0.1:7071/", "HOST_KEY": "master", "HOST_STORAGE": "UseDevelopmentStorage=true"}


def test_without_a_setting_it_is_devhost_or_what_the_caller_prefers() -> None:
    assert read_target({}) == Target("devhost")
    assert read_target({"HOST": " "}, "func") == Target("func")


@pytest.mark.parametrize("kind", ["devhost", "func"])
def test_a_kind_of_host_is_started(kind: str) -> None:
    target = read_target({"HOST": kind, "HOST_KEY": "not needed"}, "func")
    assert (target.kind, target.address, target.name) == (kind, "", kind)


def test_a_running_host_comes_with_its_key_and_its_storage() -> None:
    target = read_target(ADDRESS)
    assert target == Target("", "http://127.0.0.1:7071", "master", "UseDevelopmentStorage=true")
    assert target.name == "http://127.0.0.1:7071"


@pytest.mark.parametrize("name", ["HOST_KEY", "HOST_STORAGE"])
def test_what_a_running_host_lacks_is_named(name: str) -> None:
    with pytest.raises(RunError, match=f"^{name} is missing: set it with HOST=http://127.0.0.1:7071"):
        read_target(ADDRESS | {name: ""})


@pytest.mark.parametrize("host", ["auto", "node", "127.0.0.1:7071", "http://", "ftp://127.0.0.1", "http://127.0.0.1:x"])
def test_anything_else_is_refused_with_what_it_may_be(host: str) -> None:
    with pytest.raises(
        RunError, match=r"^HOST must be func, devhost or an address like http://127\.0\.0\.1:7071, not "
    ):
        read_target(ADDRESS | {"HOST": host})
