"""Runs every check on a decoded bootstrap: the rules, deprecations, and what rules cannot express.

One walk over all messages; which checks a message gets stands in the tables below.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from envoy.annotations import deprecation_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from sidecar.config.application_log import check_log_format
from sidecar.config.check_clusters import check_bootstrap_clusters, check_cluster
from sidecar.config.check_discovery import (
    check_api_config_source,
    check_dynamic_resources,
    check_node_for_discovery,
)
from sidecar.config.check_durations import check_duration
from sidecar.config.check_extensions import (
    CATEGORIES,
    UNREAD,
    category_of,
    check_entry,
    check_protocol_options,
    check_route_filters,
)
from sidecar.config.check_health import check_health_checks, check_outlier_detection, check_payload
from sidecar.config.check_http2 import check_http2_options
from sidecar.config.check_listeners import (
    check_admin,
    check_bootstrap_listeners,
    check_http_filters,
    check_listener,
)
from sidecar.config.check_load_assignment import check_load_assignment, check_local_priority
from sidecar.config.check_load_balancing import check_load_balancing, is_without_rules
from sidecar.config.check_manager import check_manager
from sidecar.config.check_matchers import (
    check_cidr_range,
    check_cluster_specifier,
    check_program_size,
    check_string_matcher,
    check_templates,
)
from sidecar.config.check_overload import check_overload_manager
from sidecar.config.check_references import (
    check_data_source,
    check_file_access_log,
    check_statsd,
)
from sidecar.config.check_routes import (
    check_hash_cookie,
    check_header_mutations,
    check_internal_redirect,
    check_regex,
    check_retry_policy,
    check_route_configuration,
)
from sidecar.config.check_secrets import check_bootstrap_secrets
from sidecar.config.check_subsets import check_subsets
from sidecar.config.check_tls import check_downstream_tls, check_upstream_tls
from sidecar.config.check_upstream_filters import check_cluster_filters, check_router_filters
from sidecar.config.check_upstream_protocols import check_upstream_protocols
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.hints import required_hint, rule_hint
from sidecar.config.lb_policies import POLICY
from sidecar.config.messages import message_class, type_name, unpack
from sidecar.config.validate_rules import check as check_rules
from sidecar.config.walk import walk

__all__ = ["check_bootstrap", "check_messages"]

_Check = Callable[[Context, Path, Any], None]

_ROUTE = "envoy.config.route.v3"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def _check_unopened(context: Context, path: Path, packed: Any) -> None:
    """An Any of a type we know that could not be opened again: its bytes are none of it."""
    if message_class(type_name(packed.type_url)) is not None and unpack(packed) is None:
        reason = f"not a message of type {packed.type_url}, or nested deeper than 100 messages"
        context.report.error(path, reason)


#: What a message is checked for beside its rules.
_CHECKS: dict[str, tuple[_Check, ...]] = {
    "envoy.config.cluster.v3.Cluster": (
        check_cluster,
        check_health_checks,
        check_load_balancing,
        check_local_priority,
        check_subsets,
        check_node_for_discovery,
        check_protocol_options,
        check_upstream_protocols,
        check_cluster_filters,
    ),
    "envoy.config.endpoint.v3.ClusterLoadAssignment": (check_load_assignment,),
    "envoy.config.listener.v3.Listener": (check_listener,),
    "envoy.config.overload.v3.OverloadManager": (check_overload_manager,),
    "envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig.LogFormat": (check_log_format,),
    "envoy.config.core.v3.Http2ProtocolOptions": (check_http2_options,),
    _HCM: (check_http_filters, check_manager),
    "envoy.extensions.filters.http.router.v3.Router": (check_router_filters,),
    f"{_HCM.rpartition('.')[0]}.Rds": (check_node_for_discovery,),
    f"{_HCM.rpartition('.')[0]}.ScopedRds": (check_node_for_discovery,),
    "envoy.config.bootstrap.v3.RuntimeLayer.RtdsLayer": (check_node_for_discovery,),
    f"{_ROUTE}.RouteConfiguration": (check_route_configuration, check_header_mutations, check_route_filters),
    f"{_ROUTE}.VirtualHost": (check_header_mutations, check_route_filters),
    f"{_ROUTE}.Route": (check_header_mutations, check_route_filters, check_templates),
    f"{_ROUTE}.WeightedCluster.ClusterWeight": (check_header_mutations, check_route_filters),
    f"{_ROUTE}.RouteAction.HashPolicy.Cookie": (check_hash_cookie,),
    f"{_ROUTE}.InternalRedirectPolicy": (check_internal_redirect,),
    f"{_ROUTE}.RetryPolicy": (check_retry_policy,),
    "envoy.type.matcher.v3.RegexMatcher": (check_regex, check_program_size),
    "envoy.type.matcher.v3.StringMatcher": (check_string_matcher,),
    "xds.type.matcher.v3.StringMatcher": (check_string_matcher,),
    "xds.core.v3.CidrRange": (check_cidr_range,),
    "envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier": (
        check_cluster_specifier,
    ),
    "xds.type.matcher.v3.RegexMatcher": (check_regex,),
    "envoy.config.core.v3.DataSource": (check_data_source,),
    "envoy.config.cluster.v3.OutlierDetection": (check_outlier_detection,),
    "envoy.config.core.v3.HealthCheck.Payload": (check_payload,),
    "envoy.config.core.v3.ApiConfigSource": (check_api_config_source,),
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": (check_downstream_tls,),
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": (check_upstream_tls,),
    "envoy.config.bootstrap.v3.Admin": (check_admin,),
    "google.protobuf.Any": (_check_unopened,),
    "google.protobuf.Duration": (check_duration,),
    "envoy.config.metrics.v3.StatsdSink": (check_statsd,),
    "envoy.config.bootstrap.v3.Bootstrap.DynamicResources": (check_dynamic_resources,),
    "envoy.extensions.access_loggers.file.v3.FileAccessLog": (check_file_access_log,),
}


def check_bootstrap(context: Context) -> None:
    """Report everything wrong with the context's bootstrap that Envoy would refuse, and its traps."""
    check_bootstrap_clusters(context)
    check_bootstrap_listeners(context)
    check_bootstrap_secrets(context)
    check_messages(context, context.bootstrap)


def check_messages(context: Context, root: Any, start: Path = ()) -> None:
    """The same for one message, and for all in it; ``start`` is where it stands."""
    for path, message in walk(root, start):
        descriptor = message.DESCRIPTOR
        if not is_without_rules(path, descriptor.full_name):
            _check_rules(context, path, message)
        for field in _notable(descriptor):
            _check_notable(context, path, message, field)
        for check in _CHECKS.get(descriptor.full_name, ()):
            check(context, path, message)
        for field_name, category in _entry_fields(descriptor):
            _check_entries(context, path, message, field_name, category)
        factory = context.registry.by_type(descriptor.full_name)
        validate = getattr(factory, "validate", None)
        if validate is not None:
            validate(message, path, context.report)


def _check_rules(context: Context, path: Path, message: Any) -> None:
    for suffix, reason in check_rules(message):
        here = (*path, *suffix)
        if context.report.has_failed(here):
            continue
        is_missing = reason == "value is required"
        hint = required_hint(message, str(suffix[0])) if is_missing else rule_hint(message, suffix)
        context.report.error(here, reason, hint)


@cache
def _entry_fields(descriptor: Descriptor) -> tuple[tuple[str, str], ...]:
    """The fields that hold entries of extensions, each with their category."""
    found = []
    for field in descriptor.fields:
        kind = field.message_type
        category = CATEGORIES.get((descriptor.full_name, field.name))
        if (descriptor.full_name, field.name) in UNREAD:
            continue
        if kind is None or (
            category is None and kind.full_name != "envoy.config.core.v3.TypedExtensionConfig"
        ):
            continue
        found.append((field.name, category or ""))
    return tuple(found)


def _check_entries(context: Context, path: Path, message: Any, name: str, category: str) -> None:
    field = message.DESCRIPTOR.fields_by_name[name]
    category = category_of(message, name, category)
    if field.is_repeated:
        for index, entry in enumerate(getattr(message, name)):
            check_entry(context, (*path, name, index), entry, category)
    elif message.HasField(name):
        is_optional = bool(getattr(message, "is_optional", False)) or message.DESCRIPTOR.full_name == POLICY
        check_entry(context, (*path, name), getattr(message, name), category, is_optional=is_optional)


@cache
def _notable(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields that are deprecated, or have deprecated values."""
    return tuple(
        field
        for field in descriptor.fields
        if field.GetOptions().deprecated
        or (
            field.enum_type is not None
            and any(value.GetOptions().deprecated for value in field.enum_type.values)
            and not field.is_repeated
        )
    )


def _check_notable(context: Context, path: Path, message: Any, field: FieldDescriptor) -> None:
    here = (*path, field.name)
    is_set = len(getattr(message, field.name)) > 0 if field.is_repeated else _is_set(message, field)
    options = field.GetOptions()
    if options.deprecated and is_set:
        if options.Extensions[deprecation_pb2.disallowed_by_default]:
            context.report.error(
                here, f"Using deprecated option '{field.full_name}', which Envoy no longer allows"
            )
        else:
            context.report.warning(
                here, f"Using deprecated option '{field.full_name}'", rule_hint(message, (field.name,))
            )
    if field.enum_type is None or field.is_repeated:
        return
    value = field.enum_type.values_by_number.get(getattr(message, field.name))
    if value is not None and is_set and value.GetOptions().deprecated:
        reason = f"Using deprecated value {value.name} for enum '{field.full_name}'"
        if value.GetOptions().Extensions[deprecation_pb2.disallowed_by_default_enum]:
            context.report.error(here, f"{reason}, which Envoy no longer allows")
        else:
            context.report.warning(here, reason)


def _is_set(message: Any, field: FieldDescriptor) -> bool:
    if field.has_presence:
        return bool(message.HasField(field.name))
    return bool(getattr(message, field.name) != field.default_value)
