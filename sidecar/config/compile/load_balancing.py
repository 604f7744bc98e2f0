"""How a cluster chooses hosts, compiled: ``lb_policy`` with its settings, or ``load_balancing_policy``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.chance import compile_number
from sidecar.config.compile.hash_policy import compile_hash_policies
from sidecar.config.messages import type_name, unpack
from sidecar.core.runtime import Number, Runtime
from sidecar.upstream.load_balancer_override import MetadataPath, OverrideSettings
from sidecar.upstream.load_balancer_policies import ROUND_ROBIN, LbPolicy
from sidecar.upstream.load_balancer_zones import ZoneAwareSettings
from sidecar.upstream.slow_start import SlowStartSettings

__all__ = ["compile_lb_policy", "whole_percent"]

_EXTENSIONS = {
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin": "ROUND_ROBIN",
    "envoy.extensions.load_balancing_policies.random.v3.Random": "RANDOM",
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest": "LEAST_REQUEST",
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash": "RING_HASH",
    "envoy.extensions.load_balancing_policies.maglev.v3.Maglev": "MAGLEV",
}
_SUBSET = "envoy.extensions.load_balancing_policies.subset.v3.Subset"
_OVERRIDE_HOST = "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost"
_WRR_LOCALITY = "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality"
_CLIENT_SIDE = ".client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
_NAMES = frozenset(_EXTENSIONS.values())


def compile_lb_policy(message: Any, context: FactoryContext) -> LbPolicy:
    """The policy of a Cluster; one that is still to come is ROUND_ROBIN (the loader told).

    Raises: ConfigError.
    """
    if message.HasField("load_balancing_policy"):
        return _of_policies(
            message.load_balancing_policy, _under(context, "load_balancing_policy"), context.runtime
        )
    policy = _of_enum(message, context)
    if not message.lb_subset_config.subset_selectors:
        return policy  # the rest of it says nothing then
    return _subset(message.lb_subset_config, policy)


def _subset(settings: Any, child: LbPolicy) -> LbPolicy:
    from sidecar.config.compile.subset import compile_subset  # few have subsets

    return LbPolicy("SUBSET", subset=compile_subset(settings, child))


def _of_policies(message: Any, path: str, runtime: Runtime) -> LbPolicy:
    """The first that is known of a ``LoadBalancingPolicy``."""
    for number, policy in enumerate(message.policies):
        packed = policy.typed_extension_config.typed_config
        here = f"{path}.policies[{number}].typed_extension_config.typed_config"
        name = type_name(packed.type_url)
        if name == _SUBSET:
            settings: Any = unpack(packed)
            child = _of_policies(settings.subset_lb_policy, f"{here}.subset_lb_policy", runtime)
            return _subset(settings, child)
        if name == _OVERRIDE_HOST:
            return _override_host(unpack(packed), here, runtime)
        if name == _WRR_LOCALITY:
            return _wrr_locality(unpack(packed), here, runtime)
        if name.endswith(_CLIENT_SIDE):
            return LbPolicy(equal_weights=True, slow_start=_slow_start(unpack(packed), runtime))
        if name in _EXTENSIONS:
            return _of_extension(_EXTENSIONS[name], unpack(packed), here, runtime)
    return ROUND_ROBIN


def _override_host(settings: Any, path: str, runtime: Runtime) -> LbPolicy:
    override = OverrideSettings(
        tuple(
            source.header.lower().encode() if source.header else _metadata_path(source.metadata)
            for source in settings.override_host_sources
        ),
        _of_policies(settings.fallback_policy, f"{path}.fallback_policy", runtime),
        _metadata_path(settings.selected_host_key) if settings.HasField("selected_host_key") else None,
    )
    return LbPolicy("OVERRIDE_HOST", override=override)


def _metadata_path(key: Any) -> MetadataPath:
    return MetadataPath(key.key, tuple(segment.key for segment in key.path))


def _wrr_locality(settings: Any, path: str, runtime: Runtime) -> LbPolicy:
    """Localities by weight, in each the hosts as the policy inside says."""
    inside = _of_policies(settings.endpoint_picking_policy, f"{path}.endpoint_picking_policy", runtime)
    return replace(inside, locality_weighted=True)


def _of_enum(message: Any, context: FactoryContext) -> LbPolicy:
    name = message.DESCRIPTOR.fields_by_name["lb_policy"].enum_type.values_by_number[message.lb_policy].name
    common = message.common_lb_config
    hashing = common.consistent_hashing_lb_config
    if name == "LEAST_REQUEST":
        policy = _least_request(message.least_request_lb_config, context.runtime)
    elif name == "RING_HASH":
        policy = _ring_hash(message.ring_hash_lb_config, hashing, _under(context, "ring_hash_lb_config"))
    elif name == "MAGLEV":
        policy = _maglev(message.maglev_lb_config, hashing, _under(context, "maglev_lb_config"))
    elif name == "ROUND_ROBIN":
        policy = LbPolicy(slow_start=_slow_start(message.round_robin_lb_config, context.runtime))
    else:
        policy = LbPolicy(name) if name in _NAMES else ROUND_ROBIN
    return _with_localities(policy, common)


def whole_percent(message: Any, field: str, otherwise: int) -> int:
    """An ``envoy.type.v3.Percent`` in whole percent, computed as Envoy does: 57 comes to 56."""
    return int(100 * (getattr(message, field).value / 100)) if message.HasField(field) else otherwise


def _of_extension(name: str, settings: Any, path: str, runtime: Runtime) -> LbPolicy:
    if name == "MAGLEV":
        policy = _maglev(settings, settings.consistent_hashing_lb_config, path)
    elif name == "RING_HASH":
        # The fields of the message itself are the deprecated place.
        is_new = settings.HasField("consistent_hashing_lb_config")
        policy = _ring_hash(settings, settings.consistent_hashing_lb_config if is_new else settings, path)
    elif name == "LEAST_REQUEST":
        policy = _least_request(settings, runtime)
    elif name == "ROUND_ROBIN":
        policy = LbPolicy(slow_start=_slow_start(settings, runtime))
    else:
        policy = LbPolicy(name)
    return _with_localities(policy, settings if policy.is_hashing else settings.locality_lb_config)


def _with_localities(policy: LbPolicy, settings: Any) -> LbPolicy:
    """The policy with what ``CommonLbConfig``, ``LocalityLbConfig`` or a hash policy says of localities."""
    if settings.HasField("locality_weighted_lb_config"):
        return replace(policy, locality_weighted=True)
    if policy.is_hashing or not settings.HasField("zone_aware_lb_config"):
        return policy
    return replace(policy, zone_aware=_zone_aware(settings.zone_aware_lb_config))


def _zone_aware(settings: Any) -> ZoneAwareSettings:
    # Some fields are the extensions' alone.
    forced: int | None = None
    if "force_local_zone" in settings.DESCRIPTOR.fields_by_name:
        if settings.HasField("force_local_zone"):
            forced = _wrapped(settings.force_local_zone, "min_size", 1)
        elif settings.force_locality_direct_routing:
            forced = 1
    return ZoneAwareSettings(
        routing_enabled=whole_percent(settings, "routing_enabled", 100),
        min_cluster_size=_wrapped(settings, "min_cluster_size", 6),
        fail_traffic_on_panic=settings.fail_traffic_on_panic,
        force_local_min_size=forced,
        by_weight=bool(getattr(settings, "locality_basis", 0)),
    )


def _slow_start(settings: Any, runtime: Runtime) -> SlowStartSettings | None:
    if not settings.HasField("slow_start_config"):
        return None
    slow = settings.slow_start_config
    window_ms = slow.slow_start_window.seconds * 1000 + slow.slow_start_window.nanos // 1_000_000
    if not window_ms:
        return None
    percent = slow.min_weight_percent.value if slow.HasField("min_weight_percent") else 10.0
    aggression = _live(slow, "aggression", runtime)
    if isinstance(aggression, float) and aggression <= 0:
        aggression = 1.0
    return SlowStartSettings(window_ms, aggression=aggression, min_weight=percent / 100)


def _live(message: Any, field: str, runtime: Runtime) -> float | Number:
    """A ``RuntimeDouble``, 1 where there is none; a plain number where the runtime says nothing of it."""
    if not message.HasField(field):
        return 1.0
    value = getattr(message, field)
    if runtime.follows(value.runtime_key):
        return compile_number(value, runtime)
    return float(value.default_value)


def _least_request(settings: Any, runtime: Runtime) -> LbPolicy:
    bias = _live(settings, "active_request_bias", runtime)
    if isinstance(bias, float) and bias < 0:
        bias = 1.0  # Envoy warns about it
    full_scan = False
    if "selection_method" in settings.DESCRIPTOR.fields_by_name:
        method = settings.DESCRIPTOR.fields_by_name["selection_method"].enum_type.values_by_name
        full_scan = settings.selection_method == method["FULL_SCAN"].number
        if settings.HasField("enable_full_scan"):
            full_scan = full_scan or settings.enable_full_scan.value
    return LbPolicy(
        "LEAST_REQUEST",
        choice_count=_wrapped(settings, "choice_count", 2),
        active_request_bias=bias,
        full_scan=full_scan,
        slow_start=_slow_start(settings, runtime),
    )


def _ring_hash(settings: Any, common: Any, path: str) -> LbPolicy:
    standard = LbPolicy()
    function = settings.DESCRIPTOR.fields_by_name["hash_function"].enum_type.values_by_name
    return LbPolicy(
        "RING_HASH",
        minimum_ring_size=_wrapped(settings, "minimum_ring_size", standard.minimum_ring_size),
        maximum_ring_size=_wrapped(settings, "maximum_ring_size", standard.maximum_ring_size),
        murmur=settings.hash_function == function["MURMUR_HASH_2"].number,
        **_hashing(common, path),
    )


def _maglev(settings: Any, common: Any, path: str) -> LbPolicy:
    size = _wrapped(settings, "table_size", LbPolicy().table_size)
    return LbPolicy("MAGLEV", table_size=size, **_hashing(common, path))


def _hashing(common: Any, path: str) -> dict[str, Any]:
    policies = getattr(common, "hash_policy", ())
    return {
        "use_hostname_for_hashing": common.use_hostname_for_hashing,
        "hash_balance_factor": _wrapped(common, "hash_balance_factor", 0),
        "hash_policy": compile_hash_policies(policies, f"{path}.consistent_hashing_lb_config.hash_policy"),
    }


def _under(context: FactoryContext, path: str) -> str:
    return f"{context.path}.{path}" if context.path else path


def _wrapped(message: Any, field: str, otherwise: int) -> int:
    value: int = getattr(message, field).value if message.HasField(field) else otherwise
    return value
