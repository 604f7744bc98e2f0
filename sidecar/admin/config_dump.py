"""``/config_dump``: what the configuration is, with its secrets taken out.

``resource`` picks one repeated field, ``mask`` (a FieldMask) trims, ``name_regex`` keeps the elements
whose whole name matches.  What the API marks as sensitive reads ``[redacted]``, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sidecar.admin.endpoints_dump import endpoints_json
from sidecar.admin.query import RegexError, compile_filter, pretty_json
from sidecar.admin.state import JSON, AdminState, Discovered, Found, ListenerStatus, Refused
from sidecar.config.messages import message_class
from sidecar.config.redact import message_json, unpacked
from sidecar.upstream.cluster import Cluster

__all__ = ["config_dump", "node_json"]

Answer = tuple[int, bytes, bytes]

_TYPE = "type.googleapis.com/envoy.admin.v3."
_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name
_PLAIN = b"text/plain"
#: Every repeated field of every dump, with the type of its elements and the field that holds the resource.
_RESOURCES = {
    "static_clusters": ("ClustersConfigDump.StaticCluster", "cluster"),
    "dynamic_active_clusters": ("ClustersConfigDump.DynamicCluster", "cluster"),
    "dynamic_warming_clusters": ("ClustersConfigDump.DynamicCluster", "cluster"),
    "static_listeners": ("ListenersConfigDump.StaticListener", "listener"),
    "dynamic_listeners": ("ListenersConfigDump.DynamicListener", "listener"),
    "static_route_configs": ("RoutesConfigDump.StaticRouteConfig", "route_config"),
    "dynamic_route_configs": ("RoutesConfigDump.DynamicRouteConfig", "route_config"),
    "inline_scoped_route_configs": (
        "ScopedRoutesConfigDump.InlineScopedRouteConfigs",
        "scoped_route_configs",
    ),
    "dynamic_scoped_route_configs": (
        "ScopedRoutesConfigDump.DynamicScopedRouteConfigs",
        "scoped_route_configs",
    ),
    "static_secrets": ("SecretsConfigDump.StaticSecret", "secret"),
    "dynamic_active_secrets": ("SecretsConfigDump.DynamicSecret", "secret"),
    "dynamic_warming_secrets": ("SecretsConfigDump.DynamicSecret", "secret"),
    "ecds_filters": ("EcdsConfigDump.EcdsFilterConfig", "ecds_filter"),
    "static_endpoint_configs": ("EndpointsConfigDump.StaticEndpointConfig", "endpoint_config"),
    "dynamic_endpoint_configs": ("EndpointsConfigDump.DynamicEndpointConfig", "endpoint_config"),
}
_ENDPOINTS = ("static_endpoint_configs", "dynamic_endpoint_configs")
_SINGULAR = ("bootstrap", "last_updated", "version_info")

Wants = Callable[[str], bool]


def config_dump(state: AdminState, query: dict[str, str]) -> Answer:
    """Status, content type and body."""
    resource = query.get("resource", "")
    mask = [path for path in query.get("mask", "").split(",") if path]
    include_eds = "include_eds" in query
    wants: Wants = _everything
    if "name_regex" in query:
        expression = query["name_regex"]
        try:
            pattern = compile_filter(expression)
        except RegexError as error:
            text = f"INVALID_ARGUMENT: Error while parsing name_regex from {expression}: {error}"
            return 400, _PLAIN, text.encode()
        wants = lambda name: pattern.fullmatch(name) is not None  # noqa: E731
    if resource:
        return _one_resource(state, resource, mask, wants, include_eds)
    dumps = list(_dumps(state, wants, include_eds))
    if mask:
        dumps = [trimmed for dump in dumps if (trimmed := _masked(dump, mask)) is not None]
        if not dumps:
            text = f"FieldMask {','.join(mask)} could not be successfully applied to any configs."
            return 400, _PLAIN, text.encode()
    return 200, JSON, pretty_json({"configs": dumps})


def node_json(state: AdminState) -> dict[str, Any]:
    """The node of the bootstrap."""
    return message_json(state.bootstrap.node)


def _everything(name: str) -> bool:
    return True


def _one_resource(
    state: AdminState, resource: str, mask: list[str], wants: Wants, include_eds: bool
) -> Answer:
    if resource in _SINGULAR:
        text = f"{resource} is not a repeated field. Use ?mask={resource} to get only this field"
        return 400, _PLAIN, text.encode()
    if resource not in _RESOURCES or (resource in _ENDPOINTS and not include_eds):
        return 404, _PLAIN, f"{resource} not found in config dump".encode()
    elements: list[dict[str, Any]] = []
    for dump in _dumps(state, wants, include_eds):
        for element in dump.get(resource, ()):
            typed = {"@type": _TYPE + _RESOURCES[resource][0], **element}
            if mask:
                trimmed = _masked(typed, mask)
                if trimmed is None:
                    text = f"FieldMask {','.join(mask)} could not be successfully used."
                    return 400, _PLAIN, text.encode()
                typed = trimmed
            elements.append(typed)
    return 200, JSON, pretty_json({"configs": elements} if elements else {})


# -- the dumps ------------------------------------------------------------------------------------
def _dumps(state: AdminState, wants: Wants, include_eds: bool) -> Iterator[dict[str, Any]]:
    updated = _time(state.started_s)
    found = state.discovered()
    yield {
        "@type": _TYPE + "BootstrapConfigDump",
        "bootstrap": message_json(state.bootstrap),
        "last_updated": updated,
    }
    clusters = [each for each in state.clusters() if each.config.message is not None and wants(each.name)]
    yield _section(
        "ClustersConfigDump",
        "static_clusters",
        [
            {
                "cluster": message_json(cluster.config.message, typed=True),
                "last_updated": updated,
            }
            for cluster in clusters
            if not cluster.config.added_via_api
        ],
        "dynamic_active_clusters",
        [_dynamic_cluster(cluster, found) for cluster in clusters if cluster.config.added_via_api],
        "dynamic_warming_clusters",
        [_dynamic_cluster(cluster, found) for cluster in found.warming_clusters if wants(cluster.name)],
        version=found.clusters_version,
    )
    for _, extensions in sorted(found.extensions.items()):
        yield _section(
            "EcdsConfigDump",
            "ecds_filters",
            [
                {
                    "version_info": each.version,
                    "ecds_filter": message_json(each.message, typed=True),
                    "last_updated": _time(each.at_s),
                }
                for each in extensions
                if wants(each.name)
            ],
        )
    if include_eds:
        yield _section(
            "EndpointsConfigDump",
            "static_endpoint_configs",
            [{"endpoint_config": endpoints_json(each)} for each in clusters if not each.config.added_via_api],
            "dynamic_endpoint_configs",
            [{"endpoint_config": endpoints_json(each)} for each in clusters if each.config.added_via_api],
        )
    listeners = [each for each in state.listeners() if each.message is not None]
    yield _section(
        "ListenersConfigDump",
        "static_listeners",
        [
            {"listener": message_json(listener.message, typed=True), "last_updated": updated}
            for listener in listeners
            if wants(listener.name) and listener.added is None
        ],
        "dynamic_listeners",
        _dynamic_listeners(listeners, found, wants),
        version=found.listeners_version,
    )
    # Those that wait, or end, have theirs, too.
    messages = [
        *(each.message for each in listeners),
        *(each.message for each in (*found.warming_listeners, *found.draining_listeners)),
    ]
    if any(map(_has_manager, messages)):
        yield from _routes(found, messages, wants, updated)
    secrets = [secret for secret in state.bootstrap.static_resources.secrets if wants(secret.name)]
    yield _section(
        "SecretsConfigDump",
        "static_secrets",
        [
            {"name": secret.name, "last_updated": updated, "secret": message_json(secret, typed=True)}
            for secret in secrets
        ],
        "dynamic_active_secrets",
        [_dynamic_secret(each) for each in found.secrets if each.message is not None and wants(each.name)],
        "dynamic_warming_secrets",
        [_dynamic_secret(each) for each in found.secrets if each.message is None and wants(each.name)],
    )


def _routes(
    found: Discovered, messages: Sequence[Any], wants: Wants, updated: str
) -> Iterator[dict[str, Any]]:
    """The dumps that there are where a listener among ``messages`` has a connection manager."""
    inline = [
        (scoped.name, [each for each in scopes if wants(each.name)])
        for message in messages
        for scoped in _managers(message, "scoped_routes")
        if (scopes := scoped.scoped_route_configurations_list.scoped_route_configurations)
    ]
    yield _section(
        "ScopedRoutesConfigDump",
        "inline_scoped_route_configs",
        [
            {
                "name": name,
                "scoped_route_configs": [message_json(each, typed=True) for each in scopes],
                "last_updated": updated,
            }
            for name, scopes in inline
        ],
        "dynamic_scoped_route_configs",
        [
            {
                "name": name,
                "version_info": version,
                "scoped_route_configs": [
                    message_json(each, typed=True) for each in scopes if wants(each.name)
                ],
                "last_updated": _time(at_s),
            }
            for name, version, scopes, at_s in found.scopes
        ],
    )
    routes = [route for message in messages for route in _route_configs(message)]
    yield _section(
        "RoutesConfigDump",
        "static_route_configs",
        [
            {"route_config": message_json(route, typed=True), "last_updated": updated}
            for route in routes
            if wants(route.name)
        ],
        "dynamic_route_configs",
        [
            {
                "version_info": version,
                "route_config": message_json(route, typed=True),
                "last_updated": _time(at_s),
            }
            for version, route, at_s in found.routes
            if wants(route.name)
        ],
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _dynamic_cluster(cluster: Cluster, found: Discovered) -> dict[str, Any]:
    return {
        "version_info": cluster.config.version_info,
        "cluster": message_json(cluster.config.message, typed=True),
        "last_updated": _time(found.cluster_times.get(cluster.name, 0.0)),
    }


def _dynamic_secret(found: Found) -> dict[str, Any]:
    secret = {"@type": _SECRET, "name": found.name}
    return {
        "name": found.name,
        "version_info": found.version,
        "last_updated": _time(found.at_s),
        "secret": secret if found.message is None else message_json(_with_files(found.message), typed=True),
    }


def _with_files(message: Any) -> Any:
    """A secret with what stands in its files, as Envoy keeps it."""
    secret = type(message)()
    secret.CopyFrom(message)
    certificate, context = secret.tls_certificate, secret.validation_context
    sources = []
    if message.HasField("tls_certificate"):
        sources = [certificate.certificate_chain, certificate.private_key]
    elif message.HasField("validation_context"):
        sources = [context.trusted_ca]
    for source in sources:
        with suppress(OSError):
            if source.filename:
                source.inline_bytes = Path(source.filename).read_bytes()
    return secret


def _dynamic_listeners(
    listeners: Sequence[ListenerStatus], found: Discovered, wants: Wants
) -> list[dict[str, Any]]:
    """By name, whatever states there are of each."""
    dumps: dict[str, dict[str, Any]] = {}

    def put(name: str, state: str, value: dict[str, Any]) -> None:
        if wants(name):
            dumps.setdefault(name, {"name": name})[state] = value

    for each in listeners:
        if each.added is not None:
            put(each.name, "active_state", _listener_state(each.message, *each.added))
    for other in found.warming_listeners:
        put(other.name, "warming_state", _listener_state(other.message, other.version, other.at_s))
    for other in found.draining_listeners:
        put(other.name, "draining_state", _listener_state(other.message, other.version, other.at_s))
    for refused in found.refused_listeners:
        put(refused.name, "error_state", _error_state(refused))
    return list(dumps.values())


def _listener_state(message: Any, version: str, at_s: float) -> dict[str, Any]:
    return {
        "version_info": version,
        "listener": message_json(message, typed=True),
        "last_updated": _time(at_s),
    }


def _error_state(refused: Refused) -> dict[str, Any]:
    """An ``UpdateFailureState``."""
    return {
        "failed_configuration": message_json(refused.message, typed=True),
        "last_update_attempt": _time(refused.at_s),
        "details": refused.reason,
    }


def _section(
    kind: str,
    field: str,
    elements: list[dict[str, Any]],
    dynamic_field: str = "",
    dynamic: Sequence[dict[str, Any]] = (),
    warming_field: str = "",
    warming: Sequence[dict[str, Any]] = (),
    *,
    version: str = "",
) -> dict[str, Any]:
    dump: dict[str, Any] = {"@type": _TYPE + kind}
    if version:
        dump["version_info"] = version
    if elements:
        dump[field] = elements
    if dynamic:
        dump[dynamic_field] = list(dynamic)
    if warming:
        dump[warming_field] = list(warming)
    return dump


def _route_configs(listener: Any) -> Iterator[Any]:
    """Route configurations written inside the connection managers of a listener."""
    yield from _managers(listener, "route_config")
    for scoped in _managers(listener, "scoped_routes"):
        for each in scoped.scoped_route_configurations_list.scoped_route_configurations:
            yield each.route_configuration


def _managers(listener: Any, name: str) -> Iterator[Any]:
    """A field of the connection managers of a listener that have it."""
    for each in _filters(listener):
        message = unpacked(each.typed_config)
        if message is not None and name in message.DESCRIPTOR.fields_by_name:
            field = message.DESCRIPTOR.fields_by_name[name]
            if field.message_type is not None and message.HasField(name):
                yield getattr(message, name)


def _has_manager(listener: Any) -> bool:
    return any(each.typed_config.type_url.endswith(".HttpConnectionManager") for each in _filters(listener))


def _filters(listener: Any) -> Iterator[Any]:
    chains = list(listener.filter_chains)
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        yield from chain.filters


# -- masks ----------------------------------------------------------------------------------------
_KNOWN_FIELDS = {
    "BootstrapConfigDump": ("bootstrap", "last_updated"),
    "ClustersConfigDump": (
        "version_info", "static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters",
    ),
    "ListenersConfigDump": ("version_info", "static_listeners", "dynamic_listeners"),
    "RoutesConfigDump": ("static_route_configs", "dynamic_route_configs"),
    "ScopedRoutesConfigDump": ("inline_scoped_route_configs", "dynamic_scoped_route_configs"),
    "SecretsConfigDump": ("static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"),
    "EcdsConfigDump": ("ecds_filters",),
    "EndpointsConfigDump": _ENDPOINTS,
}  # fmt: skip
_ELEMENT_FIELDS = (
    "last_updated", "version_info", "name", "error_state", "client_status",
    "active_state", "warming_state", "draining_state",
)  # fmt: skip


def _masked(dump: dict[str, Any], mask: list[str]) -> dict[str, Any] | None:
    """What the mask leaves of a dump or of one of its elements; None where it does not fit."""
    kind = dump["@type"].removeprefix(_TYPE)
    known: tuple[str, ...] = _KNOWN_FIELDS.get(kind, ())
    if not known:
        known = (*_ELEMENT_FIELDS, *(field for name, field in _RESOURCES.values() if name == kind))
    result: dict[str, Any] = {"@type": dump["@type"]}
    for path in mask:
        steps = path.split(".")
        if steps[0] not in known or not _copy_path(dump, result, steps, _descriptor(dump)):
            return None
    return result


def _descriptor(dump: dict[str, Any]) -> Any:
    """What fields the message may have; None where its type is not known."""
    found = message_class(dump["@type"].rpartition("/")[2]) if "@type" in dump else None
    return None if found is None else found.DESCRIPTOR


def _copy_path(source: dict[str, Any], target: dict[str, Any], steps: list[str], kind: Any) -> bool:
    """Copy what lies at ``steps``; False for no such field, or one behind a repeated field."""
    name, rest = steps[0], steps[1:]
    field = None if kind is None else kind.fields_by_name.get(name)
    if kind is not None and field is None:
        return False
    value = source.get(name)
    if value is None:
        return True
    if not rest:
        target[name] = value
        return True
    if not isinstance(value, dict):
        return False
    inner = target.setdefault(name, {"@type": value["@type"]} if "@type" in value else {})
    within = _descriptor(value) if "@type" in value else field and field.message_type
    return _copy_path(value, inner, rest, within)
