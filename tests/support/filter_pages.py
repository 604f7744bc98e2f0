"""The examples on the pages about filters, each in a whole configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

__all__ = ["EXAMPLES", "Example", "wrapped"]

_ROOT = Path(__file__).parent.parent.parent
_MODULE = _ROOT / "sidecar" / "demo_assets" / "header_guard.wasm"
_CLUSTERS = ("authz", "backend", "limits", "login")
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = """\
- name: envoy.filters.http.router
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""
_WHOLE = """\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/{hcm}
          stat_prefix: http
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: backend}}
{route}
          http_filters:
{filters}
  clusters:
{clusters}
"""
_CLUSTER = """\
  - name: {name}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}}}}}]
"""


@dataclass(frozen=True)
class Example:
    """A block of YAML: a filter, or a route's settings for the filter of the block before it."""

    page: str
    number: int
    text: str
    filter: str

    @property
    def is_own(self) -> bool:
        """Whether it is of sidecar alone."""
        return "type.googleapis.com/sidecar." in self.text

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def _examples() -> list[Example]:
    found = []
    for path in sorted((_ROOT / "docs" / "filters").glob("*.md")):
        blocks = re.findall(
            r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
        for number, block in enumerate(blocks, 1):
            is_route = block.startswith("typed_per_filter_config")
            found.append(Example(path.stem, number, block, blocks[0] if is_route else block))
    return found


EXAMPLES = _examples()


def wrapped(example: Example) -> str:
    """A whole configuration with the example in it."""
    is_last = "filters.http.router." in example.filter
    text = _WHOLE.format(
        hcm=_HCM,
        filters=indent(example.filter + ("" if is_last else _ROUTER), " " * 10),
        route=indent(example.text, " " * 16) if example.text is not example.filter else "",
        clusters="".join(_CLUSTER.format(name=name) for name in _CLUSTERS),
    )
    return text.replace("filename: header_guard.wasm", f"filename: {_MODULE}")
