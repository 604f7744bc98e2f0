"""All scenarios: those of every module in `scenarios/`, in a stable order that keeps setups together."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from functools import cache

from sidecar.config import api_additions

from . import scenarios
from .scenario import Scenario

# Scenarios import generated API modules: what they lack must be there by then (tests/conftest.py).
api_additions.install()

#: What `just conformance SUBJECT` runs, and how many scenarios it has at least.  A module of scenarios names
#: its subject as `SUBJECT`.
SUBJECTS = {
    "connections": 45,
    "filters": 90,
    "lifecycle": 20,
    "lua": 55,
    "observability": 60,
    "runtime": 10,
    "upstream": 60,
    "wasm": 40,
    "xds": 45,
}


def subject_of(item: Scenario) -> str:
    """The subject of the module that the scenario stands in; empty where it names none."""
    subject: str = getattr(sys.modules[item.drive.__module__], "SUBJECT", "")
    assert not subject or subject in SUBJECTS, f"{item.name}: no subject is called {subject}"
    return subject


@cache
def all_scenarios() -> tuple[Scenario, ...]:
    """Raises: ValueError when two scenarios have one name."""
    found: dict[str, Scenario] = {}
    for module in sorted(pkgutil.iter_modules(scenarios.__path__), key=lambda info: info.name):
        namespace = vars(importlib.import_module(f"{scenarios.__name__}.{module.name}"))
        for item in namespace.values():
            if isinstance(item, Scenario):
                if item.name in found:
                    raise ValueError(f"two scenarios are called {item.name}")
                found[item.name] = item
    setups = {id(item.setup): index for index, item in reversed(list(enumerate(found.values())))}
    return tuple(sorted(found.values(), key=lambda item: setups[id(item.setup)]))


def named(pattern: str) -> list[Scenario]:
    """Scenarios whose name is, or begins with, the pattern; all of them for `all`."""
    exact = [item for item in all_scenarios() if item.name == pattern]
    return exact or [item for item in all_scenarios() if pattern == "all" or item.name.startswith(pattern)]
