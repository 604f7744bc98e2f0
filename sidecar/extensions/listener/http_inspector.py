"""The listener filter that tells which HTTP a client speaks in plain text, by its first line."""

from __future__ import annotations

import re
import socket
from typing import Any

from sidecar.api.listener_filter import CLOSE, DONE, MORE, Inspection

__all__ = ["HttpInspector"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_INITIAL, _MOST = 8 * 1024, 64 * 1024
#: What there is of a method, up to a blank or to the end.
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?=\s|$)")
_REST = rb"[\x00-~]*"
_HOST = rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]@]+"
_PATH = re.compile(rb"[/*]" + _REST)
_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*://" + _HOST + rb"(?:[/?]" + _REST + rb")?")
_AUTHORITY = re.compile(_HOST + rb"(?:[/?]" + _REST + rb")?")
_VERSION = re.compile(rb"HTTP/\d\.\d")


class HttpInspector:
    """``envoy.filters.listener.http_inspector``."""

    def __init__(self, stats: Any) -> None:
        """``stats`` is the scope ``http_inspector.``."""
        self.found = {
            protocol: stats.counter(name)
            for protocol, name in (
                ("http/1.0", "http10_found"),
                ("http/1.1", "http11_found"),
                ("h2c", "http2_found"),
            )
        }
        self.http_not_found = stats.counter("http_not_found")
        self.read_error = stats.counter("read_error")

    def begin(self, connection: Any, sock: socket.socket) -> int | Inspection:
        return _Inspection(self, connection) if connection.transport_protocol == "raw_buffer" else DONE


class _Inspection:
    __slots__ = ("_connection", "_filter", "_seen", "taken", "wants")

    def __init__(self, owner: HttpInspector, connection: Any) -> None:
        self._filter = owner
        self._connection = connection
        self.wants = _INITIAL
        self._seen = 0
        self.taken = 0

    def feed(self, data: bytes) -> int:
        owner = self._filter
        # Asked again over bytes that are a full buffer to the last one, Envoy gives up.
        protocol = _protocol(data) if len(data) > self._seen else ""
        self._seen = len(data)
        if protocol is None:
            if len(data) >= _MOST:
                owner.read_error.value += 1
                return CLOSE
            if len(data) >= self.wants:
                self.wants = min(2 * self.wants, _MOST)
            return MORE
        if protocol:
            owner.found[protocol].value += 1
            self._connection.application_protocols = (protocol,)
        else:
            owner.http_not_found.value += 1
        return DONE


def _protocol(data: bytes) -> str | None:
    """As ALPN names it; empty for something else, None while it is open."""
    if data.startswith(_PREFACE):
        return "h2c"
    if _PREFACE.startswith(data):
        return None
    if data[:1] in (b"\r", b"\n"):
        return ""
    line, is_whole, _ = data.partition(b"\n")
    method = _METHOD.match(line)
    if method is None:
        return ""
    if not is_whole:
        return None
    parts = line.split()
    if len(parts) < 2 or not _is_target(parts[1], method[0].rstrip()):
        return ""
    if len(parts) > 2 and _VERSION.fullmatch(parts[2]) is None:
        return ""
    return "http/1.1" if parts[2:3] == [b"HTTP/1.1"] else "http/1.0"


def _is_target(target: bytes, method: bytes) -> bool:
    """Whether Envoy's parser takes ``target`` for a request's."""
    return (
        _PATH.fullmatch(target) or (_AUTHORITY if method == b"CONNECT" else _URL).fullmatch(target)
    ) is not None
