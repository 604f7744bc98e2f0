"""The URI that a client asked for, as challenges of filters show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.core.headers import RequestHeaders

__all__ = ["original_uri"]

#: Bytes of a path that a challenge shows.
_MOST_PATH_BYTES = 256


def original_uri(headers: RequestHeaders, path: bytes | None) -> bytes:
    """The URI, or the beginning of it; ``path`` as it was before filters changed it."""
    if path is None:
        return b""
    original = headers.get(b"x-envoy-original-path")
    shown = (path if original is None else original)[:_MOST_PATH_BYTES]
    return (headers.scheme or b"") + b"://" + (headers.authority or b"") + shown
