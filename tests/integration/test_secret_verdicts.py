"""Static secrets, and addresses for two families: what Envoy takes and refuses, each case tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle

_ECHO = (
    "{name: envoy.filters.network.echo, typed_config: "
    '{"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}'
)
_GENERIC = "generic_secret: {secret: {inline_string: a}}"
_CONTEXT = "validation_context: {}"


def secrets(*given: str) -> str:
    return "static_resources: {secrets: [" + ", ".join(f"{{{each}}}" for each in given) + "]}"


def listener(address: str, more: str = "") -> str:
    return (
        "static_resources: {listeners: [{name: l, address: {socket_address: "
        f"{{{address}, port_value: 0}}}}, {more} filter_chains: [{{filters: [{_ECHO}]}}]}}]}}"
    )


def cluster(more: str, host: str = "") -> str:
    return (
        f"static_resources: {{clusters: [{{name: c, {more} load_assignment: {{cluster_name: c, endpoints: ["
        "{lb_endpoints: [{endpoint: {address: {socket_address: "
        f"{{address: 127.0.0.1, port_value: 1{host}}}}}}}}}]}}]}}}}]}}"
    )


_EXTRA = "additional_addresses: [{address: {socket_address: {ADDRESS, port_value: 0, ipv4_compat: true}}}],"
CASES = {
    "two generic": secrets(f"name: s, {_GENERIC}", f"name: s, {_GENERIC}"),
    "two contexts": secrets(f"name: s, {_CONTEXT}", f"name: s, {_CONTEXT}"),
    "two without a name": secrets(_CONTEXT, _CONTEXT),
    "two kinds": secrets(f"name: s, {_GENERIC}", f"name: s, {_CONTEXT}"),
    "two names": secrets(f"name: s, {_CONTEXT}", f"name: t, {_CONTEXT}"),
    "no kind": secrets("name: s"),
    "both families": listener("address: '::', ipv4_compat: true"),
    "both families by a mapped address": listener("address: '::ffff:127.0.0.1', ipv4_compat: true"),
    "both families of IPv4": listener("address: 0.0.0.0, ipv4_compat: true"),
    "both families of one address": listener("address: '::1', ipv4_compat: true"),
    "one family of one address": listener("address: '::1', ipv4_compat: false"),
    "both families at a further address": listener(
        "address: 127.0.0.1", _EXTRA.replace("ADDRESS", "address: '::'")
    ),
    "both families of a further IPv4": listener(
        "address: '::'", _EXTRA.replace("ADDRESS", "address: 127.0.0.1")
    ),
    "both families of UDP": listener("protocol: UDP, address: 127.0.0.1, ipv4_compat: true").replace(
        _ECHO, ""
    ),
    "both families of a host": cluster("", ", ipv4_compat: true"),
    "both families of a source": cluster(
        "upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0, ipv4_compat: true}},"
    ),
    "both families of the admin port": (
        "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0, ipv4_compat: true}}}"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_gets_envoys_verdict(name: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CASES[name] + "\n")
    ours = main(["-c", str(file), "--mode", "validate", "-l", "off"]) == 0
    assert ours == envoy_verdict(file).accepted
