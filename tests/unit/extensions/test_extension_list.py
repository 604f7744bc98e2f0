"""The list of extensions says of each what its class says, and nothing is imported before it is wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
_SCRIPT = """
import json, sys
from sidecar.cli.main import main
status = main(["--mode", "validate", "-c", sys.argv[1]])
sys.stderr.write(json.dumps([status, sorted(sys.modules)]))
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


def test_plain_proxy_imports_no_library_of_an_extension(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text(_CONFIG)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    status, modules = json.loads(done.stderr)
    assert status == 0
    assert not set(_HEAVY) & set(modules)
