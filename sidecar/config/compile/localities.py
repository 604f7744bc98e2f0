"""What a ``ClusterLoadAssignment`` says of its hosts together: localities, their weights, what to drop."""

from __future__ import annotations

from typing import Any

from sidecar.upstream.host import Locality

__all__ = ["LocalityWeights", "compile_drops", "compile_locality", "compile_locality_weights"]

#: By ``FractionalPercent.DenominatorType``: how many of a million one is.
_PER_MILLION = (10_000, 100, 1)

#: By priority and locality.
LocalityWeights = dict[tuple[int, Locality], int]


def compile_locality(message: Any) -> Locality:
    """Where something is."""
    return Locality(message.region, message.zone, message.sub_zone)


def compile_locality_weights(assignment: Any) -> LocalityWeights:
    """What each locality of a ``ClusterLoadAssignment`` weighs.

    As in Envoy the weight of an entry without ``locality`` does not count, and of several entries of one
    locality and priority the last that has a weight says it for all.
    """
    return {
        (entry.priority, compile_locality(entry.locality)): entry.load_balancing_weight.value
        for entry in assignment.endpoints
        if entry.HasField("locality") and entry.HasField("load_balancing_weight")
    }


def compile_drops(assignment: Any) -> tuple[int, str]:
    """How many of a million requests ``policy.drop_overloads`` drops, and its category, the only one."""
    drops = assignment.policy.drop_overloads
    if not drops:
        return 0, ""
    share = drops[0].drop_percentage
    return int(share.numerator * _PER_MILLION[share.denominator]), drops[0].category
