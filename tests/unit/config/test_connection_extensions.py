"""Everything that Envoy has around connections and datagrams is there, or refused with what there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.config import known_extensions
from sidecar.config.errors import ConfigErrors
from sidecar.config.load import load_bootstrap
from sidecar.extensions.catalog import make_registry

_TCP = "name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}"
_UDP = "name: l, address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: 0}}"
_CHAINS = "filter_chains: [{filters: []}]"
_PROXY = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
#: Where an extension of a category stands.
_PLACES = {
    "envoy.filters.network": f"listeners: [{{{_TCP}, filter_chains: [{{filters: [ENTRY]}}]}}]",
    "envoy.filters.listener": f"listeners: [{{{_TCP}, listener_filters: [ENTRY], {_CHAINS}}}]",
    "envoy.filters.udp_listener": f"listeners: [{{{_UDP}, listener_filters: [ENTRY]}}]",
    "envoy.filters.udp.session": (
        f"listeners: [{{{_UDP}, listener_filters: [{{name: u, typed_config: "
        f"{{'@type': type.googleapis.com/{_PROXY}, stat_prefix: s, cluster: c, "
        "session_filters: [ENTRY]}}]}]"
    ),
    "envoy.transport_sockets.downstream": (
        f"listeners: [{{{_TCP}, filter_chains: [{{filters: [], transport_socket: ENTRY}}]}}]"
    ),
    "envoy.transport_sockets.upstream": "clusters: [{name: c, type: STATIC, transport_socket: ENTRY}]",
}


def _extensions() -> Iterator[tuple[str, str, str]]:
    for category in _PLACES:
        for message in sorted(known_extensions.types(category)):
            if known_extensions.config_type(known_extensions.name_of(message) or "", category) == message:
                yield category, known_extensions.name_of(message) or "", message


@pytest.mark.parametrize(
    ("category", "name", "message"), list(_extensions()), ids=lambda value: value.rpartition(".")[2]
)
def test_extension_is_there_or_refused_with_what_there_is(
    tmp_path: Path, category: str, name: str, message: str
) -> None:
    entry = f"{{name: {name}, typed_config: {{'@type': type.googleapis.com/{message}}}}}"
    file = tmp_path / "c.yaml"
    file.write_text(f"static_resources: {{{_PLACES[category].replace('ENTRY', entry)}}}")
    registry = make_registry()
    try:
        loaded = load_bootstrap(str(file), registry=registry)
        problems = [*loaded.warnings, *loaded.refusals]
    except ConfigErrors as errors:
        problems = list(errors.problems)
    told = [
        each for each in problems if "not implemented yet by sidecar" in each.reason and name in each.reason
    ]
    if registry.by_type(message) is not None:
        assert not told
        return
    (problem,) = {str(each): each for each in told}.values()
    there = sorted(each.name for each in registry.factories() if each.category == category)
    assert all(each in str(problem) for each in there)
