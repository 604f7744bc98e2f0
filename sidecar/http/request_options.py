"""Options of a connection manager that change a request, or refuse it, before filters and routes see it.

``strip_matching_host_port``, ``strip_any_host_port``, ``strip_trailing_host_dot``,
``path_with_escaped_slashes_action``, ``normalize_path`` and ``merge_slashes``,
``headers_with_underscores_action`` (envoy.extensions.filters.network.http_connection_manager.v3 and
envoy.config.core.v3.HttpProtocolOptions).  Paths come first, then hosts, as in Envoy.
"""

from __future__ import annotations

import re

from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass
from sidecar.core.headers import RequestHeaders
from sidecar.http.path_normalization import normalized_path

__all__ = ["RequestOptions", "drop_underscores"]

_ESCAPED_SLASH = re.compile(rb"%(?:2[Ff]|5[Cc])")
_REFUSED = LocalReply(400, details="path_normalization_failed", close=True)
#: A port is what Envoy reads as a number of 32 bits (absl::SimpleAtoi).
_NUMBER = re.compile(rb"[ \t]*\+?([0-9]+)[ \t]*").fullmatch
_MAX_NUMBER = 2**32 - 1


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What is to be done to each request; the default is nothing."""

    normalize_path: bool = False
    merge_slashes: bool = False
    #: ``KEEP_UNCHANGED``, ``REJECT_REQUEST``, ``UNESCAPE_AND_REDIRECT`` or ``UNESCAPE_AND_FORWARD``.
    escaped_slashes: str = "KEEP_UNCHANGED"
    #: ``NONE``, ``MATCHING`` (the listener's own port) or ``ANY``.
    strip_port: str = "NONE"
    strip_trailing_dot: bool = False

    def __bool__(self) -> bool:
        return self != _NONE

    def apply(self, headers: RequestHeaders, local_address: str) -> LocalReply | None:
        """Change ``headers``; an answer when the request is refused or redirected.

        ``local_address`` is where the request came in, text with a port.
        """
        reply = self._path(headers)
        if reply is None:
            authority = headers.authority
            if authority:
                if self.strip_trailing_dot:
                    authority = _without_dot(authority)
                if self.strip_port != "NONE":
                    authority = self._without_port(authority, headers, local_address)
                headers.authority = authority
        return reply

    def _path(self, headers: RequestHeaders) -> LocalReply | None:
        path = headers.path
        if path is None:
            return None
        was_escaped = False
        if self.escaped_slashes != "KEEP_UNCHANGED":
            plain, question, query = path.partition(b"?")
            fresh = _ESCAPED_SLASH.sub(_unescaped, plain)
            was_escaped = fresh != plain
            if was_escaped:
                path = fresh + question + query
                if self.escaped_slashes == "REJECT_REQUEST":
                    headers.path = path  # logs and bodies of replies show it unescaped
                    return _REFUSED
        if self.normalize_path or self.merge_slashes:
            normal = normalized_path(path, merge=self.merge_slashes, dots=self.normalize_path)
            if normal is None:
                return _REFUSED
            path = normal
        headers.path = path
        if was_escaped and self.escaped_slashes == "UNESCAPE_AND_REDIRECT":
            return LocalReply(307, details="path_normalization_failed", headers=[(b"location", path)])
        return None

    def _without_port(self, authority: bytes, headers: RequestHeaders, local_address: str) -> bytes:
        start = authority.rfind(b":")
        if start < 0 or authority.rfind(b"]") > start or headers.method == b"CONNECT":
            return authority
        found = _NUMBER(authority[start + 1 :])
        if found is None or int(found[1]) > _MAX_NUMBER:
            return authority
        if self.strip_port == "MATCHING":
            _, colon, port = local_address.rpartition(":")
            if not colon or int(port) != int(found[1]):
                return authority
        return authority[:start]


_NONE = RequestOptions()


def _unescaped(match: re.Match[bytes]) -> bytes:
    return b"/" if match[0][1] == 0x32 else b"\\"


def _without_dot(authority: bytes) -> bytes:
    """Without the dot at the end, or in front of what may be a port."""
    dot = authority.rfind(b".")
    if dot < 0 or authority[dot + 1 : dot + 2] not in (b"", b":"):
        return authority
    return authority[:dot] + authority[dot + 1 :]


def drop_underscores(headers: RequestHeaders) -> int:
    """Remove the fields whose names contain an underscore; how many there were."""
    names = [name for name in headers.index() if b"_" in name]
    return sum(headers.remove(name) for name in names)
