"""Every method that a script can call is called by a scenario that runs on Envoy as well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.extensions.http.lua_lint import METHODS

SCENARIOS = Path(__file__).parents[3] / "conformance" / "scenarios"
TEXT = "\n".join(
    path.read_text() for path in (*sorted(SCENARIOS.glob("lua*.py")), SCENARIOS / "tls_facts.py")
)
#: ``object:method(``, or the name alone among those that ``tls_facts_in_lua`` calls in turn.
CALLED = frozenset(re.findall(r":(\w+)\(", TEXT)) | frozenset(
    re.search(r"^NAMES = \((.*?)^\)", TEXT, re.DOTALL | re.MULTILINE)[1].replace('"', " ").split()  # type: ignore[index]
)


@pytest.mark.parametrize("kind", sorted(METHODS))
def test_method_is_called_in_a_scenario(kind):
    assert METHODS[kind] - CALLED == frozenset()
