"""``envoy.config.route.v3.RetryPolicy`` compiled."""

from __future__ import annotations

from typing import Any

from sidecar.config.compile.matchers import compile_header_matcher
from sidecar.config.messages import type_name, unpack
from sidecar.core.errors import ConfigError
from sidecar.router.retry_policy import (
    HostPredicate,
    ResetHeader,
    RetryPolicy,
    omit_canary_hosts,
    parse_retry_on,
    previous_hosts,
)

__all__ = ["compile_hedging", "compile_host_predicates", "compile_priority", "compile_retry_policy"]

_HOST = "envoy.extensions.retry.host"


def compile_retry_policy(levels: list[tuple[Any, str]]) -> RetryPolicy | None:
    """The policy of the innermost of ``levels``, messages with their paths, that has one; None for nothing.

    Raises: ConfigError.
    """
    for message, path in levels:
        if message.HasField("retry_policy"):
            policy = _compile(message.retry_policy, f"{path}.retry_policy")
            return None if policy == RetryPolicy() else policy
    return None


def compile_hedging(levels: list[tuple[Any, str]]) -> bool:
    """``hedge_policy.hedge_on_per_try_timeout`` of the innermost of ``levels`` that has a policy.

    ``initial_requests`` and ``additional_request_chance`` mean nothing to Envoy.
    """
    for message, _path in levels:
        if message.HasField("hedge_policy"):
            return bool(message.hedge_policy.hedge_on_per_try_timeout)
    return False


def _compile(message: Any, path: str) -> RetryPolicy:
    base, highest = 25, 250
    if message.HasField("retry_back_off"):
        back_off = message.retry_back_off
        base = max(1, _ms(back_off.base_interval))
        highest = max(1, _ms(back_off.max_interval)) if back_off.HasField("max_interval") else base * 10
    limited = message.rate_limited_retry_back_off
    reset_max = max(1, _ms(limited.max_interval)) if limited.HasField("max_interval") else 300_000
    return RetryPolicy(
        retry_on=parse_retry_on(message.retry_on, message.retry_on),
        num_retries=message.num_retries.value if message.HasField("num_retries") else 1,
        per_try_timeout_s=_ms(message.per_try_timeout) / 1000,
        per_try_idle_timeout_s=_ms(message.per_try_idle_timeout) / 1000,
        base_interval_ms=base,
        max_interval_ms=highest,
        retriable_status_codes=tuple(message.retriable_status_codes),
        retriable_headers=_matchers(message.retriable_headers, f"{path}.retriable_headers"),
        retriable_request_headers=_matchers(
            message.retriable_request_headers, f"{path}.retriable_request_headers"
        ),
        reset_headers=tuple(
            ResetHeader(each.name.lower().encode(), each.format == 1) for each in limited.reset_headers
        ),
        reset_max_interval_ms=reset_max,
        host_predicates=compile_host_predicates(message, path),
        host_selection_attempts=message.host_selection_retry_max_attempts or 1,
        priority_update_frequency=compile_priority(message, path),
        refresh_cluster_on_retry=message.refresh_cluster_on_retry,
    )


def compile_host_predicates(message: Any, path: str) -> tuple[HostPredicate, ...]:
    """``retry_host_predicate`` of a policy at ``path``.  Raises: ConfigError."""
    return tuple(
        _predicate(each.typed_config, f"{path}.retry_host_predicate[{index}]")
        for index, each in enumerate(message.retry_host_predicate)
    )


def _matchers(messages: Any, path: str) -> tuple[Any, ...]:
    return tuple(compile_header_matcher(each, f"{path}[{index}]") for index, each in enumerate(messages))


def _ms(duration: Any) -> int:
    number: int = duration.seconds * 1000 + duration.nanos // 1_000_000
    return number


def _predicate(packed: Any, path: str) -> HostPredicate:
    name = type_name(packed.type_url)
    if name == f"{_HOST}.previous_hosts.v3.PreviousHostsPredicate":
        return previous_hosts
    if name == f"{_HOST}.omit_canary_hosts.v3.OmitCanaryHostsPredicate":
        return omit_canary_hosts
    if name == f"{_HOST}.omit_host_metadata.v3.OmitHostMetadataConfig":
        return _omit_host_metadata(unpack(packed))
    raise ConfigError(path, f"retry host predicate '{name}' is not supported")


def compile_priority(message: Any, path: str) -> int:
    """``retry_priority`` of a policy at ``path``; 0 for none.  Raises: ConfigError."""
    if not message.HasField("retry_priority"):
        return 0
    packed = message.retry_priority.typed_config
    name = type_name(packed.type_url)
    if name != "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig":
        raise ConfigError(f"{path}.retry_priority", f"retry priority '{name}' is not supported")
    config: Any = unpack(packed)
    return int(config.update_frequency)


def _omit_host_metadata(config: Any) -> HostPredicate:
    """Hosts whose ``envoy.lb`` metadata has all that is named; naming nothing leaves out none."""
    from google.protobuf import json_format

    found = config.metadata_match.filter_metadata.get("envoy.lb")
    wanted = {} if found is None else json_format.MessageToDict(found, preserving_proto_field_name=True)

    def rejects(host: Any, _tried: list[Any]) -> bool:
        has = host.metadata.get("envoy.lb", {})
        return bool(wanted) and all(key in has and has[key] == value for key, value in wanted.items())

    return rejects
