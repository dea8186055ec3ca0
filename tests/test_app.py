"""A process has one of each part, however many threads use the part first."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Barrier
from typing import Any

import pytest

from leads import app
from leads.app import App, get_app
from leads.destinations import MODULES, destination_class
from leads.platform.once import once
from leads.platform.settings import Settings
from tests.support.process_app import forget_app

THREADS = 24
STORAGE = "UseDevelopmentStorage=true"


@pytest.fixture(autouse=True)
def threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def of_all_threads(ask: Callable[[], Any]) -> list[Any]:
    """The parts that this number of threads get at the same moment."""
    together = Barrier(THREADS)

    def one() -> Any:
        together.wait()
        return ask()

    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(THREADS)]]


def parts_of(kind: type) -> list[str]:
    return [name for name, found in vars(kind).items() if isinstance(found, once)]


def test_a_process_has_one_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LeadsStorage", STORAGE)
    made: list[App] = []

    class Counted(App):
        def __init__(self, *settings: Any) -> None:
            super().__init__(*settings)
            made.append(self)

    monkeypatch.setattr(app, "App", Counted)
    forget_app()
    assert len(set(of_all_threads(get_app))) == len(made) == 1
    forget_app()


@pytest.mark.parametrize("part", parts_of(App))
def test_an_app_has_one_of_each_part(part: str) -> None:
    fresh = App(Settings.model_validate({"LeadsStorage": STORAGE}))
    assert len({id(found) for found in of_all_threads(lambda: getattr(fresh, part))}) == 1


def test_all_parts_are_made_once() -> None:
    properties = {name for name, found in vars(App).items() if hasattr(found, "__get__") and not callable(found)}
    assert set(parts_of(App)) == properties - {"__dict__", "__weakref__"}


@pytest.mark.parametrize("type_name", MODULES)
def test_a_destination_which_threads_share_makes_none_of_its_parts_twice(type_name: str) -> None:
    """`functools.cached_property` has no lock."""
    found = [vars(kind) for kind in destination_class(type_name).__mro__]
    assert not [name for parts in found for name, part in parts.items() if isinstance(part, cached_property)]


def test_settings_have_one_credential() -> None:
    """If each thread had its own token, a cold start would request one for each thread."""
    fresh = Settings.model_validate({"LeadsStorage__credential": "managedidentity"})
    assert len({id(found) for found in of_all_threads(lambda: fresh.credential)}) == 1


def test_what_could_not_be_made_is_made_at_the_next_use() -> None:
    class Thing:
        tries = 0

        @once
        def part(self) -> str:
            self.tries += 1
            if self.tries == 1:
                raise ValueError("not yet")
            return "made"

    thing = Thing()
    with pytest.raises(ValueError, match="not yet"):
        _ = thing.part
    assert (thing.part, thing.part, thing.tries) == ("made", "made", 2)
