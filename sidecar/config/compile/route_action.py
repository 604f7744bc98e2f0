"""What a route does, compiled: RouteAction, RedirectAction, DirectResponseAction (envoy.config.route.v3)."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.config.compile.matchers import compile_regex
from sidecar.config.compile.route_filters import PerFilterConfigs
from sidecar.config.compile.route_headers import compile_header_mutations
from sidecar.core.errors import ConfigError
from sidecar.router.route import DirectResponse, Redirect, Route, WeightedCluster

__all__ = ["RouteActions", "compile_metadata", "duration_s"]

_REDIRECT_CODES = (301, 302, 303, 307, 308)
_CLUSTER_NOT_FOUND = (503, 404, 500)


def duration_s(message: Any) -> float:
    """Seconds of a google.protobuf.Duration."""
    return float(message.seconds + message.nanos / 1e9)


def compile_metadata(message: Any) -> dict[str, dict[str, Any]]:
    """``envoy.config.core.v3.Metadata`` by namespace."""
    return {
        namespace: json_format.MessageToDict(struct, preserving_proto_field_name=True)
        for namespace, struct in message.filter_metadata.items()
    }


class RouteActions:
    """Compiles the actions of the routes of one route configuration."""

    def __init__(self, context: FactoryContext, filters: PerFilterConfigs) -> None:
        self._context = context
        self._filters = filters

    def compile(self, route: Route, message: Any, path: str) -> None:
        """Give ``route`` what the Route ``message`` says to do.  Raises: ConfigError."""
        action = message.WhichOneof("action")
        if action == "direct_response":
            direct = message.direct_response
            body = b""
            if direct.HasField("body"):
                body = self._context.read_data_source(direct.body, f"{path}.direct_response.body")
            route.direct_response = DirectResponse(direct.status, body)
        elif action == "redirect":
            route.redirect = self._redirect(message.redirect, f"{path}.redirect")
        elif action == "route":
            self._route_action(route, message.route, f"{path}.route")
        else:
            raise ConfigError(path, f"route action '{action}' is not supported")

    def _route_action(self, route: Route, action: Any, path: str) -> None:
        kind = action.WhichOneof("cluster_specifier")
        if kind == "cluster":
            route.cluster_name = action.cluster
        elif kind == "cluster_header":
            route.cluster_header = action.cluster_header.lower().encode()
        elif kind == "weighted_clusters":
            entries = []
            for index, each in enumerate(action.weighted_clusters.clusters):
                at = f"{path}.weighted_clusters.clusters[{index}]"
                entries.append(
                    WeightedCluster(
                        each.name,
                        each.weight.value,
                        compile_header_mutations(each, "request", at),
                        compile_header_mutations(each, "response", at),
                        each.host_rewrite_literal.encode() or None,
                        self._filters.compile(each, at),
                        compile_metadata(each.metadata_match),
                    )
                )
            route.weighted = tuple(entries)
            route.weighted_total = sum(entry.weight for entry in entries)
            route.cluster_name = entries[0].name if entries else ""
        else:
            raise ConfigError(path, f"cluster specifier '{kind}' is not supported")
        route.cluster_not_found_status = _CLUSTER_NOT_FOUND[action.cluster_not_found_response_code]
        if action.HasField("timeout"):
            route.timeout_s = duration_s(action.timeout)
        if action.HasField("idle_timeout"):
            route.idle_timeout_s = duration_s(action.idle_timeout)
        if action.prefix_rewrite:
            route.prefix_rewrite = action.prefix_rewrite.encode()
        if action.HasField("regex_rewrite"):
            route.regex_rewrite = self._regex_rewrite(action.regex_rewrite, f"{path}.regex_rewrite")
        rewrite = action.WhichOneof("host_rewrite_specifier")
        if rewrite == "host_rewrite_literal":
            route.host_rewrite = action.host_rewrite_literal.encode()
        elif rewrite == "host_rewrite_header":
            route.host_rewrite_header = action.host_rewrite_header.lower().encode()
        elif rewrite == "host_rewrite_path_regex":
            at = f"{path}.host_rewrite_path_regex"
            route.host_rewrite_regex = self._regex_rewrite(action.host_rewrite_path_regex, at)
        elif rewrite == "auto_host_rewrite":
            route.auto_host_rewrite = action.auto_host_rewrite.value
        route.append_x_forwarded_host = action.append_x_forwarded_host

    def _regex_rewrite(self, message: Any, path: str) -> tuple[Any, str]:
        pattern = compile_regex(message.pattern.regex, f"{path}.pattern.regex")
        # RE2 writes a group as \1; its Python binding as \g<1>.
        return pattern, re.sub(r"\\(\d)", r"\\g<\1>", message.substitution)

    def _redirect(self, message: Any, path: str) -> Redirect:
        rewrite = message.WhichOneof("path_rewrite_specifier")
        scheme = message.WhichOneof("scheme_rewrite_specifier")
        return Redirect(
            status=_REDIRECT_CODES[message.response_code],
            scheme=message.scheme_redirect.encode() if scheme == "scheme_redirect" else None,
            https=scheme == "https_redirect" and message.https_redirect,
            host=message.host_redirect.encode() or None,
            port=message.port_redirect,
            path=message.path_redirect.encode() if rewrite == "path_redirect" else None,
            prefix=message.prefix_rewrite.encode() if rewrite == "prefix_rewrite" else None,
            regex=self._regex_rewrite(message.regex_rewrite, f"{path}.regex_rewrite")
            if rewrite == "regex_rewrite"
            else None,
            strip_query=message.strip_query,
        )
