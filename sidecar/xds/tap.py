"""Who stands between a subscriber and its source: in a supervisor and in its workers.

A supervisor tells its workers what its own subscribers took; a worker has everything from its supervisor
(:mod:`sidecar.xds.relay`).  A process that serves alone has no tap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sidecar.upstream.cluster import PathSource
from sidecar.xds.subscription import Subscriber, Subscription

__all__ = ["Tap", "key_of"]


class Tap(Protocol):
    """See the module."""

    def subscribe(
        self, key: str, subscriber: Subscriber, make: Callable[[Subscriber], Subscription]
    ) -> Subscription:
        """A subscription for ``subscriber``; ``make`` makes that of the source.  Raises: what it does."""
        ...


def key_of(message: str, source: Any, names: tuple[str, ...] | None) -> str:
    """What a subscription is for, in the same words in every process of a configuration.

    ``source`` is a ``ConfigSource`` or the path of a file.
    """
    if isinstance(source, PathSource):
        where = f"{source.path}\n{source.watched_directory}"
    else:
        place = source.path_config_source
        if source.WhichOneof("config_source_specifier") in ("path", "path_config_source"):
            where = f"{place.path or source.path}\n{place.watched_directory.path}"
        else:
            where = str(source.SerializeToString(deterministic=True).hex())
    return "\n".join((message, where, *(("*",) if names is None else names)))
