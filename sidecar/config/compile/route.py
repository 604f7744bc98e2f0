"""``envoy.config.route.v3.RouteConfiguration`` compiled to a :class:`sidecar.router.route_table.RouteTable`.

The message was validated before.  The four levels of header mutations are laid out here in the order
in which they apply, so that the router runs one tuple.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format

from sidecar.api.context import FactoryContext
from sidecar.config.compile.errors import placed
from sidecar.config.compile.matchers import compile_predicates, compile_regex
from sidecar.config.registry import Registry, resolve_any
from sidecar.core.errors import ConfigError, SidecarError
from sidecar.observability.formatter import compile_header_value
from sidecar.router.header_mutation import AttemptCount, HeaderAddition, HeaderMutations
from sidecar.router.route_table import (
    PATH,
    PREFIX,
    REGEX,
    SEPARATED_PREFIX,
    DirectResponse,
    Redirect,
    Route,
    RouteTable,
    VirtualHost,
    WeightedCluster,
)

__all__ = ["compile_route_table", "duration_s"]

_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_CLUSTER_NOT_FOUND = (503, 404, 500)
_CONNECT = 4


def duration_s(message: Any) -> float:
    """Seconds of a google.protobuf.Duration."""
    return float(message.seconds + message.nanos / 1e9)


def compile_route_table(
    message: Any, context: FactoryContext, registry: Registry, filter_names: Mapping[str, str]
) -> RouteTable:
    """The table.  ``filter_names`` maps configured filter names to their extension's config type.

    Raises: ConfigError with a path from the bootstrap's root.
    """
    return _Compiler(message, context, registry, filter_names).table()


class _Compiler:
    def __init__(
        self, message: Any, context: FactoryContext, registry: Registry, filter_names: Mapping[str, str]
    ) -> None:
        self._message = message
        self._context = context
        self._filter_names = filter_names
        self._registry = registry

    def table(self) -> RouteTable:
        message = self._message
        table = RouteTable(message.name)
        table.message = message
        table.ignore_port = message.ignore_port_in_host_matching
        outer_request = self._mutations(message, "request", self._context.path)
        outer_response = self._mutations(message, "response", self._context.path)
        outer_filters = self._per_filter(message, self._context.path)
        for index, each in enumerate(message.virtual_hosts):
            path = f"{self._context.path}.virtual_hosts[{index}]"
            virtual_host = self._virtual_host(each, path, outer_request, outer_response, outer_filters)
            for number, domain in enumerate(each.domains):
                if not table.add(domain.encode(), virtual_host):
                    reason = (
                        "Only unique values for domains are permitted. "
                        f"Duplicate entry of domain {domain} in route {message.name}"
                    )
                    raise ConfigError(f"{path}.domains[{number}]", reason)
        return table

    def _virtual_host(
        self,
        message: Any,
        path: str,
        outer_request: HeaderMutations,
        outer_response: HeaderMutations,
        outer_filters: dict[str, Any],
    ) -> VirtualHost:
        request = self._mutations(message, "request", path)
        response = self._mutations(message, "response", path)
        filters = {**outer_filters, **self._per_filter(message, path)}
        metadata = _metadata(message.metadata)
        routes = []
        for index, each in enumerate(message.routes):
            route_path = f"{path}.routes[{index}]"
            route = self._route(each, route_path)
            route.virtual_host_name = message.name
            route.virtual_host_metadata = metadata
            route.request_mutations = self._levels(
                self._mutations(each, "request", route_path), request, outer_request
            )
            route.response_mutations = self._levels(
                self._mutations(each, "response", route_path), response, outer_response
            )
            route.per_filter_config = {**filters, **self._per_filter(each, route_path)}
            if message.include_request_attempt_count:
                route.request_mutations = (AttemptCount(), *route.request_mutations)
            if message.include_attempt_count_in_response:
                route.response_mutations = (AttemptCount(), *route.response_mutations)
            routes.append(route)
        return VirtualHost(message.name, routes)

    def _levels(self, *levels: HeaderMutations) -> tuple[HeaderMutations, ...]:
        order = reversed(levels) if self._message.most_specific_header_mutations_wins else levels
        return tuple(level for level in order if level)

    def _route(self, message: Any, path: str) -> Route:
        match = message.match
        kind = match.WhichOneof("path_specifier")
        case_sensitive = match.case_sensitive.value if match.HasField("case_sensitive") else True
        value: Any
        if kind in ("prefix", "path", "path_separated_prefix"):
            value = getattr(match, kind).encode()
            value = value if case_sensitive else value.lower()
            route = Route({"prefix": PREFIX, "path": PATH}.get(kind, SEPARATED_PREFIX), value)
        elif kind == "safe_regex":
            route = Route(REGEX, compile_regex(match.safe_regex.regex, f"{path}.match.safe_regex.regex"))
        elif kind == "connect_matcher":
            route = Route(_CONNECT, b"")
        else:
            raise ConfigError(f"{path}.match", f"path matcher '{kind}' is not supported")
        route.case_sensitive = case_sensitive
        route.name = message.name
        route.metadata = _metadata(message.metadata)
        route.stat_prefix = message.stat_prefix
        route.predicates = compile_predicates(match, f"{path}.match")
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
        return route

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
                        self._mutations(each, "request", at),
                        self._mutations(each, "response", at),
                        each.host_rewrite_literal.encode() or None,
                        self._per_filter(each, at),
                        _metadata(each.metadata_match),
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

    # -- headers ------------------------------------------------------------------------------------
    def _mutations(self, message: Any, side: str, path: str) -> HeaderMutations:
        additions = []
        for index, option in enumerate(getattr(message, f"{side}_headers_to_add")):
            at = f"{path}.{side}_headers_to_add[{index}]"
            name = option.header.key.lower().encode()
            action = option.append_action
            if option.HasField("append"):
                action = 0 if option.append.value else 2
            text = option.header.value or option.header.raw_value.decode("latin-1")
            value: bytes | Callable[[Any], bytes]
            try:
                value = compile_header_value(text)
            except SidecarError as error:
                raise ConfigError(f"{at}.header.value", str(error)) from error
            additions.append(HeaderAddition(name, value, action, option.keep_empty_value))
        removals = tuple(name.lower().encode() for name in getattr(message, f"{side}_headers_to_remove"))
        return HeaderMutations(tuple(additions), removals)

    # -- typed_per_filter_config ------------------------------------------------------------------------
    def _per_filter(self, message: Any, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, packed in message.typed_per_filter_config.items():
            at = f'{path}.typed_per_filter_config["{name}"]'
            inner: Any
            type_name, inner = resolve_any(packed)
            if type_name == _FILTER_CONFIG and inner is not None:
                type_name, inner = resolve_any(inner.config)
            factory = self._registry.by_route_type(type_name)
            if factory is None or inner is None:
                continue  # told by the loader
            if name not in self._filter_names:
                self._context.warn(at, f"no enabled filter named '{name}' stands in http_filters: no effect")
            context = self._context.at("")
            context.path = at
            try:
                found[name] = factory.compile_route(inner, context)
            except ConfigError as error:
                raise placed(error, at) from error
        return found


def _metadata(message: Any) -> dict[str, dict[str, Any]]:
    return {
        namespace: json_format.MessageToDict(struct, preserving_proto_field_name=True)
        for namespace, struct in message.filter_metadata.items()
    }
