"""Expressions of guests, outside of streams."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.api.context import NodeInfo
from sidecar.extensions.http.wasm_properties import PluginFacts
from sidecar.extensions.wasm.foreign import FOREIGN_FUNCTIONS
from wasm_abi import Status


def root_vm() -> Any:
    """A VM that is called for a root context."""
    facts = PluginFacts("the-plugin", "", "", NodeInfo(), lambda name: None)
    plugin = SimpleNamespace(host=SimpleNamespace(expressions=None, facts=facts))
    return SimpleNamespace(called_context=SimpleNamespace(plugin=plugin, stream=None))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 1", b"\2" + bytes(7)),
        ("plugin_name + '!'", b"the-plugin!"),
        ("request.path", Status.INTERNAL_FAILURE),
        ("null", Status.SERIALIZATION_FAILURE),
        ("[1, 2, 3].map(n, string(n)).size()", b"\3" + bytes(7)),
    ],
)
def test_expression_of_a_root_context(text: str, value: bytes | Status) -> None:
    vm = root_vm()
    token = FOREIGN_FUNCTIONS[b"expr_create"](text.encode(), vm)
    assert token == bytes(4)
    assert FOREIGN_FUNCTIONS[b"expr_evaluate"](token, vm) == value
    assert FOREIGN_FUNCTIONS[b"expr_delete"](token, vm) == b""
    assert FOREIGN_FUNCTIONS[b"expr_evaluate"](token, vm) == Status.NOT_FOUND
