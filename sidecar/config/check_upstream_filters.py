"""The order of HTTP filters on the way to an upstream.  Reasons are Envoy's words (1.40)."""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name, unpack

__all__ = ["check_cluster_filters", "check_router_filters"]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CODEC = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
_HINT = (
    "end the list with:\n- name: envoy.filters.http.upstream_codec\n  typed_config:\n"
    f'    "@type": type.googleapis.com/{_CODEC}'
)


def check_cluster_filters(context: Context, path: Path, cluster: Any) -> None:
    """``HttpProtocolOptions.http_filters`` of one cluster."""
    packed = cluster.typed_extension_protocol_options.get(_HTTP_OPTIONS)
    options: Any = None if packed is None else unpack(packed)
    if options is None or not options.http_filters:
        return
    here: Path = (*path, "typed_extension_protocol_options", _HTTP_OPTIONS, "http_filters")
    last = options.http_filters[-1]
    if type_name(last.typed_config.type_url) != _CODEC and last.WhichOneof("config_type") == "typed_config":
        context.report.error(
            (*here, len(options.http_filters) - 1),
            f"The codec filter is the only valid terminal upstream HTTP filter, use '{_CODEC}'",
            _HINT,
        )
        return
    _check_order(context, here, options.http_filters, "upstream http")


def check_router_filters(context: Context, path: Path, router: Any) -> None:
    """``Router.upstream_http_filters``."""
    here = (*path, "upstream_http_filters")
    _check_order(context, here, router.upstream_http_filters, "router upstream http")


def _check_order(context: Context, path: Path, filters: Any, chain: str) -> None:
    last = len(filters) - 1
    for index, each in enumerate(filters):
        here = (*path, index)
        name = type_name(each.typed_config.type_url)
        if not name or context.report.has_failed(here):
            continue
        if name == _CODEC and index != last:
            context.report.error(
                here,
                f"Error: terminal filter named {each.name} of type envoy.filters.http.upstream_codec"
                f" must be the last filter in a {chain} filter chain.",
                "move it to the end",
            )
        elif name != _CODEC and index == last:
            context.report.error(
                here,
                f"Error: non-terminal filter named {each.name} is the last filter in a {chain} filter"
                " chain. When upstream_http_filters are specified, they must explicitly end with an"
                " UpstreamCodec filter.",
                _HINT,
            )
        elif index == last and each.disabled:
            context.report.error(
                (*here, "disabled"),
                f"Error: the last (terminal) filter ({each.name}) in the chain"
                " cannot be disabled by default.",
            )
