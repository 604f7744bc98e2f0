"""The list of extensions says of each what its class says, and nothing is imported before it is wanted."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sidecar.config.registry import Deferred
from sidecar.extensions.catalog import make_registry

_REGISTRY = make_registry()
#: Libraries that a plain proxy does without, and what stands for the extensions that bring them.
_HEAVY = (
    "cryptography",
    "lupa",
    "opentelemetry",
    "wasmtime",
    "sidecar.extensions.http.lua",
    "sidecar.extensions.http.wasm",
    "sidecar.extensions.proc",
    "sidecar.extensions.jwt",
)
#: What a plain proxy does not use of the proxy's own, and of Python's library, at its start.
_ON_DEMAND = (
    "cProfile",
    "importlib.abc",
    "sidecar.admin.api",
    "sidecar.config.compile.grpc_service",
    "sidecar.config.compile.health_check",
    "sidecar.config.compile.rate_limits",
    "sidecar.config.compile.scoped_routes",
    "sidecar.config.compile.subset",
    "sidecar.config.compile.tls",
    "sidecar.config.compile.tracing",
    "sidecar.http.tracing",
    "sidecar.net.certificates_library",
    "sidecar.net.strand_dump",
    "sidecar.net.tls_client",
    "sidecar.net.tls_context",
    "sidecar.net.tls_server",
    "sidecar.net.tls_transport",
    "sidecar.net.tls_verify",
    "sidecar.router.scoped_routes",
    "sidecar.router.traced",
    "sidecar.server.dispatcher_stats",
    "sidecar.server.hot_restart.successor",
    "sidecar.server.hot_restart.takeover",
    "sidecar.server.overload_manager",
    "sidecar.server.udp_listener",
    "sidecar.server.workers.supervisor",
    "sidecar.upstream.health_check",
    "sidecar.upstream.load_balancer_subset",
    "sidecar.upstream.original_dst",
    "sidecar.upstream.subset_members",
    "sidecar.xds.grpc_stream",
    "sidecar.xds.load_reports",
    "sidecar.xds.rest",
    "_bz2",
    "_hashlib",
    "_lzma",
    "_ssl",
    "email",
    "html.entities",
    "tracemalloc",
)
#: Modules of the package that a plain proxy imports.  More of them is a slower start: say why.
_MOST_MODULES = 412
#: With Python's own and those of libraries; Python's versions differ by some.
_MOST_OF_ALL = 880
_SCRIPT = """
import json, sys
from sidecar.cli.start import entry_point
sys.argv[1:] = ["--mode", "validate", "-c", sys.argv[1]]
try:
    entry_point()
except SystemExit as stop:
    sys.stderr.write(json.dumps([stop.code, sorted(sys.modules)]))
"""
_EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
_CONFIG = f"""
static_resources:
  listeners:
  - name: plain
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": {_EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: plain
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: there}}}}]}}
          http_filters:
          - name: router
            typed_config: {{"@type": {_EXTENSIONS}.http.router.v3.Router}}
  clusters:
  - name: there
    type: STATIC
    load_assignment:
      cluster_name: there
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}}}
"""


@pytest.mark.parametrize("row", _REGISTRY.factories(), ids=lambda row: row.config_type)
def test_row_says_what_its_factory_says(row: Deferred) -> None:
    factory = row.factory()
    assert (row.category, row.name, row.config_type) == (factory.category, factory.name, factory.config_type)
    assert row.route_config_type == getattr(factory, "route_config_type", None)
    assert row.factory() is factory


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules that a plain proxy has when it could serve."""
    path = tmp_path_factory.mktemp("plain") / "plain.yaml"
    path.write_text(_CONFIG)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    status, modules = json.loads(done.stderr)
    assert status == 0
    return set(modules)


def test_plain_proxy_imports_no_library_of_an_extension(imported: set[str]) -> None:
    assert sorted(set(_HEAVY) & imported) == []


def test_plain_proxy_imports_nothing_that_it_does_not_use(imported: set[str]) -> None:
    assert sorted(set(_ON_DEMAND) & imported) == []
    own = {name for name in imported if name.partition(".")[0] == "sidecar"}
    assert len(own) <= _MOST_MODULES
    assert len(imported) <= _MOST_OF_ALL
