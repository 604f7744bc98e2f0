"""What a route does, compiled (``envoy.config.route.v3.RouteAction``).

Redirects and direct responses are :mod:`sidecar.config.compile.answers`'.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.config.compile.answers import compile_direct_response, compile_redirect
from sidecar.config.compile.cluster_specifiers import ClusterSpecifiers
from sidecar.config.compile.hash_policy import compile_hash_policies
from sidecar.config.compile.internal_redirect import compile_internal_redirect
from sidecar.config.compile.route_filters import PerFilterConfigs
from sidecar.config.compile.route_headers import compile_header_mutations
from sidecar.config.compile.route_rewrites import (
    compile_host_rewriter,
    compile_path_format,
    compile_path_rewriter,
)
from sidecar.config.compile.route_timeouts import compile_timeouts, duration_s
from sidecar.config.compile.upgrades import compile_upgrades
from sidecar.core.errors import ConfigError
from sidecar.router.cluster_choice import WeightedCluster
from sidecar.router.rewrites import by_format
from sidecar.router.route import Route
from sidecar.upstream.metadata_match import NAMESPACE, MetadataMatch

__all__ = ["RouteActions", "compile_metadata", "duration_s"]

_CLUSTER_NOT_FOUND = (503, 404, 500)


def compile_metadata(message: Any) -> dict[str, dict[str, Any]]:
    """``envoy.config.core.v3.Metadata`` by namespace."""
    return {
        namespace: json_format.MessageToDict(struct, preserving_proto_field_name=True)
        for namespace, struct in message.filter_metadata.items()
    }


class RouteActions:
    """Compiles the actions of the routes of one route configuration."""

    def __init__(
        self, context: FactoryContext, filters: PerFilterConfigs, specifiers: ClusterSpecifiers
    ) -> None:
        self._context = context
        self._filters = filters
        self._specifiers = specifiers

    def compile(self, route: Route, message: Any, path: str) -> None:
        """Give ``route`` what the Route ``message`` says to do.  Raises: ConfigError."""
        action = message.WhichOneof("action")
        if action == "direct_response":
            route.direct_response = compile_direct_response(
                message.direct_response, self._context, f"{path}.direct_response"
            )
        elif action == "redirect":
            route.redirect = compile_redirect(route, message.redirect, self._context, f"{path}.redirect")
        elif action == "route":
            self._route_action(route, message.route, f"{path}.route")
        # filter_action and non_forwarding_action: a route to no cluster, as in Envoy's router.

    def _route_action(self, route: Route, action: Any, path: str) -> None:
        route.internal_redirect = compile_internal_redirect(action, path)
        route.priority = action.priority
        route.hash_policy = compile_hash_policies(action.hash_policy, f"{path}.hash_policy")
        match = _match(action)
        if match is not None:
            route.metadata_match = MetadataMatch(match)
        kind = action.WhichOneof("cluster_specifier")
        if kind == "cluster":
            route.cluster_name = action.cluster
        elif kind == "cluster_header":
            route.cluster_header = action.cluster_header.lower().encode()
        elif kind in ("cluster_specifier_plugin", "inline_cluster_specifier_plugin"):
            route.cluster_tree = self._specifiers.compile(action, path)
            if route.cluster_tree is None:
                route.predicates = (_never,)
        elif kind == "weighted_clusters":
            self._weighted(route, action.weighted_clusters, f"{path}.weighted_clusters")
        else:
            raise ConfigError(path, f"cluster specifier '{kind}' is not supported")
        route.cluster_not_found_status = _CLUSTER_NOT_FOUND[action.cluster_not_found_response_code]
        compile_timeouts(route, action)
        if action.upgrade_configs:
            compile_upgrades(route, action)
        made = compile_path_format(action, self._context, path)
        if made is not None:
            route.path_rewriter = by_format(made)
        else:
            route.path_rewriter = compile_path_rewriter(route, action, self._context, path)
        route.host_rewriter = compile_host_rewriter(action, self._context, path)
        route.auto_host_rewrite = action.auto_host_rewrite.value
        route.append_x_forwarded_host = action.append_x_forwarded_host

    def _weighted(self, route: Route, message: Any, path: str) -> None:
        entries = []
        prefix, runtime = message.runtime_key_prefix, self._context.runtime
        for index, each in enumerate(message.clusters):
            at = f"{path}.clusters[{index}]"
            filters = self._filters.compile(each, at)
            entries.append(
                WeightedCluster(
                    each.name,
                    each.weight.value,
                    compile_header_mutations(each, "request", at),
                    compile_header_mutations(each, "response", at),
                    each.host_rewrite_literal.encode() or None,
                    filters.configs,
                    filters.switches,
                    _match(each),
                    each.cluster_header.lower().encode() or None,
                    runtime.number(f"{prefix}.{each.name}", each.weight.value)
                    if prefix and runtime.follows(f"{prefix}.{each.name}")
                    else None,
                )
            )
        route.weighted = tuple(entries)
        route.weighted_header = message.header_name.lower().encode() or None
        if message.use_hash_policy.value:
            route.weighted_by = route.hash_policy


def _match(message: Any) -> dict[str, Any] | None:
    """``metadata_match`` as far as it is about hosts; None without."""
    return compile_metadata(message.metadata_match).get(NAMESPACE)


def _never(_headers: Any, _stream: Any) -> bool:
    return False
