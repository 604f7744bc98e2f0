"""``envoy.config.route.v3.RouteAction.RequestMirrorPolicy`` compiled, and which level's policies count."""

from __future__ import annotations

from typing import Any

from sidecar.config.compile.chance import compile_fraction
from sidecar.config.compile.ordered_mutations import compile_ordered_mutations
from sidecar.core.runtime import Runtime
from sidecar.router.mirroring import MirrorPolicy

__all__ = ["compile_mirrors"]


def compile_mirrors(levels: list[tuple[Any, str]], runtime: Runtime) -> tuple[MirrorPolicy, ...]:
    """The policies of the first of ``levels`` (message, path) that has any.  Raises: ConfigError."""
    for message, path in levels:
        if message.request_mirror_policies:
            return tuple(
                _compile(each, f"{path}.request_mirror_policies[{index}]", runtime)
                for index, each in enumerate(message.request_mirror_policies)
            )
    return ()


def _compile(policy: Any, path: str, runtime: Runtime) -> MirrorPolicy:
    mutations = policy.request_headers_mutations
    return MirrorPolicy(
        cluster=policy.cluster,
        cluster_header=policy.cluster_header.lower().encode() or None,
        share=compile_fraction(policy.runtime_fraction, runtime)
        if policy.HasField("runtime_fraction")
        else None,
        host_rewrite_literal=policy.host_rewrite_literal.encode(),
        disable_shadow_host_suffix_append=policy.disable_shadow_host_suffix_append,
        is_traced=policy.trace_sampled.value if policy.HasField("trace_sampled") else True,
        mutations=compile_ordered_mutations(mutations, f"{path}.request_headers_mutations")
        if mutations
        else None,
    )
