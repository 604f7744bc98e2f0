"""Envoy's answers of record: one JSON file per scenario, so that the suite runs where Envoy does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .scenario import Scenario

DIRECTORY = Path(__file__).parent / "recorded"


def renew_command(scenario: Scenario) -> str:
    return f"python -m tests.conformance.record {scenario.name}"


def load(scenario: Scenario) -> dict[str, Any] | None:
    """`{"scenario", "about", "envoy", "observation"}`, or None when there is none."""
    path = DIRECTORY / f"{scenario.name}.json"
    if not path.exists():
        return None
    loaded = json.loads(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


def save(scenario: Scenario, version: str, observation: dict[str, Any]) -> None:
    content = {
        "scenario": scenario.name,
        "about": scenario.about,
        "envoy": version,
        "observation": observation,
    }
    DIRECTORY.mkdir(exist_ok=True)
    (DIRECTORY / f"{scenario.name}.json").write_text(json.dumps(content, indent=1) + "\n")
