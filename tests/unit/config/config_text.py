"""A small configuration and what loading it gives; no extension of ours is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.config.errors import ConfigErrors, Problem
from sidecar.config.load import Loaded, load_bootstrap
from sidecar.config.registry import Registry

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
LUA = "envoy.extensions.filters.http.lua.v3.Lua"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"

BASE = f"""\
static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/{HCM}
          stat_prefix: s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: backend}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/{ROUTER}
  clusters:
  - name: backend
    type: STATIC
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}}}
"""


@dataclass
class StubFactory:
    """Stands for an extension; ``seen`` are the messages it was asked to validate."""

    name: str
    category: str
    config_type: str

    def compile(self, message: Any, context: Any) -> object:
        return message


def registry(*more: Any) -> Registry:
    return Registry(
        (
            StubFactory("envoy.filters.network.http_connection_manager", "envoy.filters.network", HCM),
            StubFactory("envoy.filters.http.router", "envoy.filters.http", ROUTER),
            StubFactory("envoy.filters.http.lua", "envoy.filters.http", LUA),
            *more,
        )
    )


def load_text(
    tmp_path: Path, text: str, name: str = "c.yaml", overlay: str | None = None, **flags: Any
) -> Loaded | list[Problem]:
    """The loaded text, or all of its problems."""
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    try:
        return load_bootstrap(str(file), overlay, registry=flags.pop("registry", registry()), **flags)
    except ConfigErrors as errors:
        return errors.problems
