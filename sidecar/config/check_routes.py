"""Mistakes in route configurations that no rule expresses (reasons in Envoy's words)."""

from __future__ import annotations

import os
import sys
from typing import Any

import re2

from sidecar.config.check_matchers import check_route_matcher
from sidecar.config.check_upgrades import check_route_upgrades
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name

__all__ = [
    "check_direct_response",
    "check_hash_cookie",
    "check_header_mutations",
    "check_internal_redirect",
    "check_regex",
    "check_retry_policy",
    "check_route_configuration",
]

_MAX_BODY = 4096
_MAX_WEIGHT = 2**32 - 1
_REGEX_OPTIONS = re2.Options()
_REGEX_OPTIONS.log_errors = False


def check_regex(context: Context, path: Path, matcher: Any) -> None:
    """``envoy.type.matcher.v3.RegexMatcher``: RE2 must compile it."""
    try:
        re2.compile(matcher.regex, options=_REGEX_OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else "invalid regex"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        context.report.error(
            (*path, "regex"),
            f"invalid regular expression: {text}",
            "Envoy's expressions are RE2: no look-around",
        )


def check_route_configuration(context: Context, path: Path, routes: Any) -> None:
    """One ``envoy.config.route.v3.RouteConfiguration`` that stands in the file."""
    _check_domains(context, path, routes)
    plugins = {each.extension.name for each in routes.cluster_specifier_plugins}
    check_clusters = context.validates_clusters
    if routes.HasField("validate_clusters"):
        check_clusters = routes.validate_clusters.value
    _check_mirrors(context, path, routes, check_clusters=check_clusters)
    for i, host in enumerate(routes.virtual_hosts):
        at_host = (*path, "virtual_hosts", i)
        _check_virtual_clusters(context, at_host, host)
        if host.HasField("matcher"):
            check_route_matcher(context, (*at_host, "matcher"), host.matcher)
            if host.routes:
                context.report.error(at_host, "cannot set both matcher and routes on virtual host")
        _check_mirrors(context, at_host, host, check_clusters=check_clusters)
        for j, route in enumerate(host.routes):
            at = (*at_host, "routes", j)
            if route.WhichOneof("action") == "route":
                _check_action(context, (*at, "route"), route.route, check_clusters=check_clusters)
                _check_plugin(context, (*at, "route"), route.route, plugins)
            elif route.WhichOneof("action") == "direct_response":
                limit = _MAX_BODY
                if routes.HasField("max_direct_response_body_size_bytes"):
                    limit = routes.max_direct_response_body_size_bytes.value
                check_direct_response(context, (*at, "direct_response"), route.direct_response, limit)


def _check_plugin(context: Context, path: Path, action: Any, plugins: set[str]) -> None:
    name = action.cluster_specifier_plugin
    if name and name not in plugins:
        reason = f"Unknown cluster specifier plugin name: {name} is used in the route"
        context.report.error((*path, "cluster_specifier_plugin"), reason)


def _check_virtual_clusters(context: Context, path: Path, host: Any) -> None:
    for number, each in enumerate(host.virtual_clusters):
        if not each.headers:
            here = (*path, "virtual_clusters", number)
            context.report.error(here, "virtual clusters must define 'headers'", "add headers")


def _check_domains(context: Context, path: Path, routes: Any) -> None:
    seen: dict[str, Path] = {}
    names: dict[str, Path] = {}
    for i, host in enumerate(routes.virtual_hosts):
        if host.name in names:
            context.report.warning(
                (*path, "virtual_hosts", i, "name"),
                f"another virtual host is called '{host.name}' ({context.report_place(names[host.name])}):"
                " statistics of the two cannot be told apart",
            )
        names.setdefault(host.name, (*path, "virtual_hosts", i, "name"))
        for j, domain in enumerate(host.domains):
            here = (*path, "virtual_hosts", i, "domains", j)
            folded = domain.lower()
            if folded in seen:
                place = context.report_place(seen[folded])
                reason = (
                    f"Only a single wildcard domain is permitted in route {routes.name}"
                    if folded == "*"
                    else "Only unique values for domains are permitted."
                    f" Duplicate entry of domain {folded} in route {routes.name}"
                )
                context.report.error(here, reason, f"the first stands at {place}")
            seen.setdefault(folded, here)
            inner = domain[1:] if domain.startswith("*") else domain[:-1] if domain.endswith("*") else domain
            if "*" in inner:
                context.report.warning(
                    here,
                    f"'{domain}' matches only a host of exactly this text: a '*' counts at one end alone",
                )


def _check_action(context: Context, path: Path, action: Any, *, check_clusters: bool) -> None:
    _check_rewrites(context, path, action)
    check_route_upgrades(context, path, action)
    kind = action.WhichOneof("cluster_specifier")
    if kind == "cluster" and action.cluster and check_clusters:
        _check_cluster(context, (*path, "cluster"), action.cluster, "")
    elif kind == "weighted_clusters":
        _check_weights(
            context, (*path, "weighted_clusters"), action.weighted_clusters, check_clusters=check_clusters
        )
    _check_mirrors(context, path, action, check_clusters=check_clusters)


def _check_rewrites(context: Context, path: Path, action: Any) -> None:
    if action.HasField("regex_rewrite"):
        check_regex(context, (*path, "regex_rewrite", "pattern"), action.regex_rewrite.pattern)
    found = [name for name in ("prefix_rewrite", "path_rewrite") if getattr(action, name)]
    found += [name for name in ("regex_rewrite", "path_rewrite_policy") if action.HasField(name)]
    if len(found) > 1:
        context.report.error(
            (*path, found[-1]),
            "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy",
            f"{found[0]} is set, too",
        )


def _check_weights(context: Context, path: Path, weighted: Any, *, check_clusters: bool) -> None:
    for number, entry in enumerate(weighted.clusters):
        here = (*path, "clusters", number)
        if entry.name and entry.cluster_header:
            reason = "Only one of name or cluster_header can be specified"
            context.report.error(here, reason, "remove one of them")
        elif not entry.name and not entry.cluster_header and not context.report.has_failed((*here, "name")):
            context.report.error(
                here, "At least one of name or cluster_header need to be specified", "add name"
            )
        if not entry.HasField("weight") and not context.report.has_failed((*here, "weight")):
            context.report.error((*here, "weight"), "Field 'weight' is missing", "add weight: 1, say")
        if check_clusters:
            _check_cluster(context, (*here, "name"), entry.name, "weighted ")
    total = sum(entry.weight.value for entry in weighted.clusters)
    if total == 0 and weighted.clusters:
        context.report.error(path, "Sum of weights in the weighted_cluster must be greater than 0.")
    elif total > _MAX_WEIGHT:
        context.report.error(path, f"The sum of weights of all weighted clusters exceeds {_MAX_WEIGHT}")


def _check_mirrors(context: Context, path: Path, message: Any, *, check_clusters: bool) -> None:
    for number, policy in enumerate(message.request_mirror_policies):
        here = (*path, "request_mirror_policies", number)
        if policy.cluster and policy.cluster_header:
            context.report.error(
                here,
                f"Only one of cluster '{policy.cluster}' or cluster_header '{policy.cluster_header}'"
                " in request mirror policy can be specified",
            )
        elif policy.cluster or policy.cluster_header:
            if check_clusters:
                _check_cluster(context, (*here, "cluster"), policy.cluster, "shadow ")
        elif not context.report.has_failed((*here, "cluster")):
            reason = "Exactly one of cluster or cluster_header in request mirror policy need to be specified"
            context.report.error(here, reason, "add cluster")


def _check_cluster(context: Context, path: Path, name: str, kind: str) -> None:
    if name and name not in context.clusters:
        context.report.error(path, f"route: unknown {kind}cluster '{name}'", context.suggest_cluster(name))


def check_direct_response(context: Context, path: Path, response: Any, limit: int) -> None:
    """The body of a direct response: there, and not too long."""
    if not response.HasField("body"):
        return
    body, here = response.body, (*path, "body")
    limit = limit or sys.maxsize  # as Envoy reads it
    kind = body.WhichOneof("specifier")
    size = 0
    if kind == "inline_string":
        size = len(body.inline_string.encode())
    elif kind == "inline_bytes":
        size = len(body.inline_bytes)
    elif kind == "environment_variable":
        size = len(os.environb.get(body.environment_variable.encode(), b""))
    elif kind == "filename" and os.path.exists(body.filename):
        size = os.path.getsize(body.filename)
        if size > limit:
            context.report.error(here, f"file {body.filename} size is {size} bytes; maximum is {limit}")
            return
    if size > limit:
        context.report.error(here, f"response body size is {size} bytes; maximum is {limit}")


def check_hash_cookie(context: Context, path: Path, cookie: Any) -> None:
    """``RouteAction.HashPolicy.Cookie``: how long it lives."""
    if cookie.ttl.seconds < 0 or cookie.ttl.nanos < 0:
        context.report.error((*path, "ttl"), "Invalid duration: Expected positive duration")


def check_internal_redirect(context: Context, path: Path, policy: Any) -> None:
    """``InternalRedirectPolicy``: which headers it copies."""
    for number, name in enumerate(policy.response_headers_to_copy):
        if _is_protected(name):
            context.report.error(
                (*path, "response_headers_to_copy", number),
                ":-prefixed headers or Hosts may not be specified here.",
            )


def _check_options_predicates(context: Context, path: Path, policy: Any) -> None:
    """Envoy has none of these extensions."""
    for number, each in enumerate(policy.retry_options_predicates):
        name = type_name(each.typed_config.type_url)
        context.report.error(
            (*path, "retry_options_predicates", number),
            f"Didn't find a registered implementation for '{each.name}' with type URL: '{name}'",
        )


def check_retry_policy(context: Context, path: Path, policy: Any) -> None:
    """``RetryPolicy``: its back-off does not end below where it begins; both are a millisecond at least."""
    _check_options_predicates(context, path, policy)
    back_off = policy.retry_back_off
    if not back_off.HasField("max_interval"):
        return
    base, highest = (
        max(1, each.seconds * 1000 + each.nanos // 1_000_000)
        for each in (back_off.base_interval, back_off.max_interval)
    )
    if highest < base:
        context.report.error(
            (*path, "retry_back_off", "max_interval"),
            "retry_policy.max_interval must greater than or equal to the base_interval",
        )


def check_header_mutations(context: Context, path: Path, message: Any) -> None:
    """The headers to add and to remove of one route configuration, virtual host, route or cluster weight."""
    for field in ("request_headers_to_add", "response_headers_to_add"):
        for number, entry in enumerate(getattr(message, field)):
            if _is_protected(entry.header.key):
                context.report.error(
                    (*path, field, number, "header", "key"), ":-prefixed or host headers may not be modified"
                )
    for field in ("request_headers_to_remove", "response_headers_to_remove"):
        for number, name in enumerate(getattr(message, field)):
            if _is_protected(name):
                context.report.error((*path, field, number), ":-prefixed or host headers may not be removed")


def _is_protected(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"
