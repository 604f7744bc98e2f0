"""In which trees of a cluster's statistics a response counts.

Envoy: ``Router::Filter::chargeUpstreamCode``.

Beside the cluster's own: ``internal.`` or ``external.``, ``canary.`` of a host that is one or says so,
``zone.<from>.<to>.``, and all of these below the name in ``x-envoy-upstream-alt-stat-name``.  Most streams
have the first two alone, and ``stream.trees`` is ``stream.internal`` then.  What asks for health counts
in none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.upstream.cluster_stats import UNCOUNTED, Trees

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["ALTERNATIVE", "CANARY", "name_alternative", "put_trees"]

CANARY = b"x-envoy-upstream-canary"
ALTERNATIVE = b"x-envoy-upstream-alt-stat-name"


def name_alternative(stream: Stream, value: bytes) -> None:
    """The request names another tree; Envoy takes the whole value for one name."""
    if stream.trees is not UNCOUNTED:
        stream.trees = Trees(stream.internal, False, "", value.decode("latin-1"), _has_codes(stream.trees))


def put_trees(stream: Stream, host: Any, canary: bytes | None = None) -> None:
    """Set ``stream.trees`` by the host, and by the response's ``x-envoy-upstream-canary``."""
    was = stream.trees
    if was is UNCOUNTED:
        return
    alternative = was.alternative if isinstance(was, Trees) else ""
    own, its = stream.cluster.own_zone, host.locality.zone
    zone = f"zone.{own}.{its}." if own and its else ""
    is_canary = host.canary or canary == b"true"
    has_codes = _has_codes(was)
    if zone or is_canary or alternative or not has_codes:
        stream.trees = Trees(stream.internal, is_canary, zone, alternative, has_codes)
    else:
        stream.trees = stream.internal


def _has_codes(trees: bool | Trees) -> bool:
    return not isinstance(trees, Trees) or trees.has_codes
