"""A property that is computed at its first use, and only once, however many threads use it at the same time."""

from collections.abc import Callable
from threading import RLock
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 - a decorator, named as `functools.cached_property` is
    """As `functools.cached_property`, which has no lock since Python 3.12. The decorated function must do no I/O."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._name = ""
        self._lock = RLock()
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        with self._lock:
            made = vars(instance)
            if self._name not in made:
                made[self._name] = self._make(instance)
            found: T = made[self._name]
            return found
