"""``upstream_bind_config`` and ``upstream_connection_options``: what they become, and what is refused."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from sidecar.config.compile.connect_options import compile_connect_options
from sidecar.core.errors import ConfigError
from sidecar.net.socket_options import SocketOption
from sidecar.upstream.connect_options import ConnectOptions
from tests.unit.config.compile.test_cluster_compile import decode, make_context

SOURCE = "source_address: {address: 127.0.0.2, port_value: 0}"
SECOND = "{address: '::1', port_value: 0}"


def compiled(fields: str, manager: str = "") -> ConnectOptions | None:
    bind: Any = decode(f"{{{manager}}}", "envoy.config.core.v3.BindConfig") if manager else None
    return compile_connect_options(decode(f"{{name: c, {fields}}}"), make_context(), bind)


@pytest.mark.parametrize("fields", ["", "upstream_bind_config: {}", "upstream_connection_options: {}"])
def test_cluster_that_says_nothing_has_no_options(fields: str) -> None:
    assert compiled(fields) is None


def test_source_of_the_cluster_stands_before_that_of_the_manager() -> None:
    manager = SOURCE.replace("0.2", "0.3")
    own = compiled(f"upstream_bind_config: {{{SOURCE}}}", manager)
    others = compiled("", manager)
    assert own is not None
    assert others is not None
    assert [each.address.text for each in (*own.sources, *others.sources) if each.address] == [
        "127.0.0.2:0",
        "127.0.0.3:0",
    ]


def test_second_source_has_its_own_options_or_the_common_ones() -> None:
    option = "socket_options: [{level: 1, name: 2, int_value: 3}]"
    own = f"{{address: {SECOND}, socket_options: {{socket_options: []}}}}"
    for second, count in ((f"{{address: {SECOND}}}", 1), (own, 0)):
        options = compiled(
            f"upstream_bind_config: {{{SOURCE}, {option}, extra_source_addresses: [{second}]}}"
        )
        assert options is not None
        first, other = options.sources
        assert first.options == (SocketOption(1, 2, 3),)
        assert len(other.options) == count


def test_option_of_datagrams_is_left_out_and_freebind_is_of_the_family() -> None:
    options = compiled(
        f"upstream_bind_config: {{{SOURCE}, freebind: true, socket_options: "
        "[{level: 1, name: 2, buf_value: aGk=, type: {datagram: {}}}, "
        "{level: 1, name: 2, buf_value: aGk=, type: {stream: {}}, state: STATE_BOUND}]}"
    )
    assert options is not None
    freebind, option = options.sources[0].options
    assert (freebind.level, freebind.value) == (socket.IPPROTO_IP, 1)
    assert (option.value, option.state) == (b"hi", 1)


@pytest.mark.parametrize(
    ("bind", "reason"),
    [
        (f"extra_source_addresses: [{{address: {SECOND}}}]", "but no source_address"),
        (f"{SOURCE}, extra_source_addresses: [{{{SOURCE.replace('source_', '')}}}]", "same IP version"),
        (f"{SOURCE}, additional_source_addresses: [{SECOND}, {SECOND}]", "more than one extra/additional"),
        (
            f"{SOURCE}, additional_source_addresses: [{SECOND}], "
            f"extra_source_addresses: [{{address: {SECOND}}}]",
            "Can't specify both",
        ),
        ("source_address: {address: nohost, port_value: 0}", "malformed IP address: nohost"),
    ],
)
def test_sources_that_envoy_refuses_are_refused(bind: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        compiled(f"upstream_bind_config: {{{bind}}}")
    assert caught.value.path.startswith("static_resources.clusters[0].upstream_bind_config")
    with pytest.raises(ConfigError, match=reason) as caught:
        compiled("", bind)
    assert caught.value.path.startswith("cluster_manager.upstream_bind_config")
