"""How a cluster parts its hosts by their metadata, compiled: ``lb_subset_config``, or the extension.

Both have the same fields, ``allow_redundant_keys`` aside.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from google.protobuf import json_format

from sidecar.upstream.load_balancer_policies import LbPolicy
from sidecar.upstream.subset_settings import Fallback, SubsetSelector, SubsetSettings

__all__ = ["compile_subset"]

#: By number, which are the same in both messages; Envoy takes an unknown one of the extension for the last.
_FALLBACKS = (Fallback.NONE, Fallback.ANY, Fallback.DEFAULT)
_SELECTOR_FALLBACKS = (Fallback.NOT_DEFINED, Fallback.NONE, Fallback.ANY, Fallback.DEFAULT, Fallback.KEYS)
_FALLBACK_LIST = 1


def compile_subset(message: Any, child: LbPolicy) -> SubsetSettings:
    """The settings, with ``child`` to choose inside of a subset.

    A selector without keys is none, as in Envoy.
    """
    allow_redundant_keys = getattr(message, "allow_redundant_keys", False)
    selectors = [_selector(each) for each in message.subset_selectors if each.keys]
    if allow_redundant_keys:
        selectors.sort(key=lambda each: -len(each.keys))
    return SubsetSettings(
        # Without that, subsets know of no weights of localities.
        child=child if message.locality_weight_aware else replace(child, locality_weighted=False),
        selectors=tuple(selectors),
        fallback=_FALLBACKS[min(message.fallback_policy, 2)],
        default_subset=json_format.MessageToDict(message.default_subset),
        scale_locality_weight=message.locality_weight_aware and message.scale_locality_weight,
        panic_mode_any=message.panic_mode_any,
        list_as_any=message.list_as_any,
        has_fallback_list=message.metadata_fallback_policy == _FALLBACK_LIST,
        allow_redundant_keys=allow_redundant_keys,
    )


def _selector(message: Any) -> SubsetSelector:
    number = message.fallback_policy
    return SubsetSelector(
        keys=tuple(sorted(set(message.keys))),
        # One that is unknown finds nobody.
        fallback=_SELECTOR_FALLBACKS[number] if 0 <= number < len(_SELECTOR_FALLBACKS) else Fallback.NONE,
        fallback_keys=frozenset(message.fallback_keys_subset),
        single_host=message.single_host_per_subset,
    )
