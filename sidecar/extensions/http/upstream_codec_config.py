"""``envoy.filters.http.upstream_codec``: what ends the HTTP filters of a cluster.

The codec is the upstream's stream itself; in a configuration it only says that the list ends there.
"""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext

__all__ = ["UpstreamCodecFactory"]


class UpstreamCodecFactory:
    """The filter at the end."""

    name = "envoy.filters.http.upstream_codec"
    category = "envoy.filters.http.upstream"
    config_type = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
    is_upstream = True

    def compile(self, message: Any, context: FactoryContext) -> None:
        """Nothing: what stands before it is what there is to do."""
