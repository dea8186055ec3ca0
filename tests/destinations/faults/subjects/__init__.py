"""A subject for each destination type: the module of the type's name in this folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest

from leads.destinations import MODULES
from tests.destinations.faults.subjects.base import SECRETS, Subject, running
from tests.fakes.tls import Authority

__all__ = ["SECRETS", "SUBJECTS", "Subject", "running"]

TYPES = sorted(name for name, module in MODULES.items() if not module.startswith("tests."))
"""The types of the app, without those of the tests."""

SUBJECTS: dict[str, Callable[[Authority, pytest.MonkeyPatch, str], Subject]] = {
    name: import_module(f"{__name__}.{name}").subject for name in TYPES
}
