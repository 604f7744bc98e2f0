"""The counters of an HTTP/1 codec (``http1.`` and ``cluster.<name>.http1.``), there once it spoke."""

from __future__ import annotations

from typing import Any

__all__ = ["declare_h1_stats"]

#: Those of underscores are counted by the driver; HTTP/1 has no metadata, and no queue of answers here.
_NAMES = (
    "dropped_headers_with_underscores",
    "metadata_not_supported_error",
    "requests_rejected_with_underscores_in_headers",
    "response_flood",
)


def declare_h1_stats(scope: Any) -> None:
    """Make the counters of a codec under ``scope``, ``http1.`` in it; those that exist stay."""
    inner = scope.scope("http1")
    for name in _NAMES:
        inner.counter(name)
