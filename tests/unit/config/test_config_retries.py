"""What retry policies may not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from config_text import BASE, load_text

ROUTE = "                route: {cluster: backend}\n"
PRIORITY = (
    "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
)


def problems(tmp_path: Path, policy: str) -> list[Any]:
    text = BASE.replace(ROUTE, f"                route: {{cluster: backend, retry_policy: {{{policy}}}}}\n")
    found = load_text(tmp_path, text)
    return found if isinstance(found, list) else []


def test_priorities_that_are_never_updated_are_refused(tmp_path: Path) -> None:
    entry = f"{{name: p, typed_config: {{'@type': {PRIORITY}}}}}"
    (problem,) = problems(tmp_path, f"retry_on: 5xx, retry_priority: {entry}")
    assert problem.path.endswith(".retry_policy.retry_priority.typed_config.update_frequency")
    assert problem.reason == "value must be greater than 0"


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (
            "retry_options_predicates: [{name: x, typed_config: {"
            "'@type': type.googleapis.com/google.protobuf.Empty}}]",
            "Didn't find a registered implementation for 'x' with type URL: 'google.protobuf.Empty'",
        ),
        (
            "retry_priority: {name: envoy.retry_priorities.previous_priorities}",
            "Didn't find a registered implementation for 'envoy.retry_priorities.previous_priorities'"
            " with type URL: ''",
        ),
    ],
)
def test_extension_that_nobody_has_is_refused(policy: str, reason: str, tmp_path: Path) -> None:
    assert reason in [problem.reason for problem in problems(tmp_path, policy)]
