"""Inputs of match trees that look at a connection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.config.compile.network_inputs import NETWORK_INPUTS

_SSL = "envoy.extensions.matching.common_inputs.ssl.v3"


def _take(kind: str, connection: Any) -> bytes | None:
    return NETWORK_INPUTS[f"{_SSL}.{kind}Input"](None, "")(connection)


def _peer(subject: str = "", **sans: list[str]) -> Any:
    peer = SimpleNamespace(subject=subject, sans=lambda kind: sans.get(kind, []))
    return SimpleNamespace(tls=SimpleNamespace(peer=peer))


def test_names_of_a_client_are_joined() -> None:
    connection = _peer("CN=a", URI=["spiffe://x/a", "spiffe://x/b"], DNS=["a.example"])
    assert _take("UriSan", connection) == b"spiffe://x/a,spiffe://x/b"
    assert _take("DnsSan", connection) == b"a.example"
    assert _take("Subject", connection) == b"CN=a"


@pytest.mark.parametrize("kind", ["UriSan", "DnsSan", "Subject"])
@pytest.mark.parametrize(
    "connection",
    [
        SimpleNamespace(),
        SimpleNamespace(tls=None),
        SimpleNamespace(tls=SimpleNamespace(peer=None)),
        _peer(),
    ],
    ids=["before the handshake", "plain text", "no certificate", "no name"],
)
def test_who_has_no_name_gives_no_text(kind: str, connection: Any) -> None:
    assert _take(kind, connection) is None
