"""Which policy of a ``load_balancing_policy`` counts: the first that is registered, as in Envoy."""

from __future__ import annotations

from typing import Any

from sidecar.config import known_extensions
from sidecar.config.errors import Path
from sidecar.config.messages import type_name

__all__ = ["POLICY", "chosen_policy"]

#: The message of an entry.  What stands in it may be of a type that is no policy: Envoy passes over it.
POLICY = "envoy.config.cluster.v3.LoadBalancingPolicy.Policy"
_CATEGORY = "envoy.load_balancing_policies"


def chosen_policy(message: Any, path: Path) -> tuple[Path, str, Any] | None:
    """Path, type and ``Any`` of the policy that counts; None where there is none."""
    known = known_extensions.types(_CATEGORY)
    for number, policy in enumerate(message.policies):
        packed = policy.typed_extension_config.typed_config
        name = type_name(packed.type_url)
        if name in known:
            here = (*path, "policies", number, "typed_extension_config", "typed_config")
            return here, name, packed
    return None
