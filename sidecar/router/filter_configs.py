"""``typed_per_filter_config`` of two levels put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["merge_filter_configs"]


def merge_filter_configs(outer: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The compiled configurations of ``own`` over those of the level around it.

    The more specific one replaces the other, as for most filters of Envoy's; one that has a method ``within``
    is given the other and says what the two make.
    """
    merged = dict(outer)
    for name, config in own.items():
        within = getattr(config, "within", None)
        before = merged.get(name)
        merged[name] = config if within is None or before is None else within(before)
    return merged
