"""What becomes of TLVs of a TCP proxy beside those that came with the client's own head."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sidecar.extensions.network.tcp_tlvs import ADD_IF_ABSENT, APPEND, OVERWRITE, Tlvs

_OWN = ((1, b"own"), (2, lambda stream: f"made for {stream}"))
_MADE = ((1, b"own"), (2, b"made for me"))


@pytest.mark.parametrize("policy", [ADD_IF_ABSENT, OVERWRITE, APPEND])
def test_tlvs_of_a_connection_without_a_head_are_the_configured_ones(policy: int) -> None:
    connection = SimpleNamespace(proxy_protocol_tlvs=None, stream="me")
    Tlvs(_OWN, policy).put(connection)
    assert connection.proxy_protocol_tlvs == _MADE


@pytest.mark.parametrize(
    ("policy", "merged"),
    [
        (ADD_IF_ABSENT, ((1, b"came"), (3, b"too"))),
        (OVERWRITE, (*_MADE, (3, b"too"))),
        (APPEND, ((1, b"came"), (3, b"too"), *_MADE)),
    ],
)
def test_tlvs_beside_those_of_a_head_are_merged_as_the_policy_says(
    policy: int, merged: tuple[tuple[int, bytes], ...]
) -> None:
    connection = SimpleNamespace(proxy_protocol_tlvs=((1, b"came"), (3, b"too")), stream="me")
    Tlvs(_OWN, policy).put(connection)
    assert connection.proxy_protocol_tlvs == merged
