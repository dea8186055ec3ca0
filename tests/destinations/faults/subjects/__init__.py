"""A subject for each destination type: the module of the type's name in this folder."""

from __future__ import annotations

from importlib import import_module

from leads.destinations import MODULES
from tests.destinations.faults.subjects.base import SECRETS, Subject, running

__all__ = ["SECRETS", "SUBJECTS", "Subject", "running"]

TYPES = sorted(name for name, module in MODULES.items() if not module.startswith("tests."))
"""The types of the app, without those of the tests."""

SUBJECTS: dict[str, type[Subject]] = {name: import_module(f"{__name__}.{name}").subject for name in TYPES}
