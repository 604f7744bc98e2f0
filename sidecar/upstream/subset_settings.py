"""How a cluster's hosts are parted by their metadata: ``lb_subset_config``, compiled."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from sidecar.core.dataclass import dataclass

if TYPE_CHECKING:
    from sidecar.upstream.load_balancer_policies import LbPolicy

__all__ = ["Fallback", "SubsetSelector", "SubsetSettings", "selector_fallbacks"]


class Fallback:
    """What is done where there is no subset for a request; by selector, or else for the whole cluster."""

    NONE = "NO_FALLBACK"
    ANY = "ANY_ENDPOINT"
    DEFAULT = "DEFAULT_SUBSET"
    #: For selectors alone: with fewer keys, and as the cluster has it.
    KEYS = "KEYS_SUBSET"
    NOT_DEFINED = "NOT_DEFINED"


@dataclass(frozen=True, slots=True)
class SubsetSelector:
    """``LbSubsetSelector``: a subset for every combination of values that hosts have of these keys."""

    #: Sorted, each once.
    keys: tuple[str, ...]
    fallback: str = Fallback.NOT_DEFINED
    fallback_keys: frozenset[str] = frozenset()
    single_host: bool = False


@dataclass(frozen=True, slots=True)
class SubsetSettings:
    """``envoy.config.cluster.v3.Cluster.LbSubsetConfig``, or the extension's ``Subset``."""

    #: How a host of a subset is chosen.
    child: LbPolicy
    #: With ``allow_redundant_keys`` the longest first.
    selectors: tuple[SubsetSelector, ...]
    fallback: str = Fallback.NONE
    default_subset: dict[str, Any] = field(default_factory=dict)
    #: A locality weighs less where not all of its hosts are in a subset.
    scale_locality_weight: bool = False
    panic_mode_any: bool = False
    list_as_any: bool = False
    #: ``metadata_fallback_policy`` is FALLBACK_LIST.
    has_fallback_list: bool = False
    allow_redundant_keys: bool = False


def selector_fallbacks(
    selectors: tuple[SubsetSelector, ...],
) -> dict[tuple[str, ...], SubsetSelector]:
    """Whose fallback counts for a request with these names.

    Envoy keeps selectors in a tree of keys, where a selector says something only if it is the first to come
    to its place: behind ``[a, b]``, or a twin, ``[a]`` has no fallback of its own.
    """
    found: dict[tuple[str, ...], SubsetSelector] = {}
    for selector in selectors:
        for length in range(1, len(selector.keys) + 1):
            names = selector.keys[:length]
            if names not in found:
                found[names] = selector if length == len(selector.keys) else SubsetSelector(names)
    return found
