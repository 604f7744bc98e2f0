"""Every exception that sidecar raises on purpose, under one base.

Third-party exceptions are mapped to these where they enter (``raise … from``).  What a
stream error becomes on the wire (status, body, response flag, details) is decided by the one
table in :mod:`sidecar.http.local_reply`, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply

__all__ = [
    "ConfigError",
    "DeadlineExceeded",
    "Disconnected",
    "ExtensionError",
    "LocalProtocolError",
    "LuaError",
    "ProtocolError",
    "RemoteProtocolError",
    "SidecarError",
    "StreamAborted",
    "StreamClosed",
    "UpstreamError",
    "XdsError",
    "forget_frames",
]


class SidecarError(Exception):
    """The base of all errors of this package."""


class ConfigError(SidecarError):
    """One thing wrong with the configuration.

    ``path`` is the field path from the bootstrap's root (``static_resources.clusters[0].name``);
    the configuration layer finds file, line and column from it.
    """

    def __init__(self, path: str, reason: str, *, line_in_text: int | None = None) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason
        #: 1-based line inside the text held by the field (a script), where the error lies there.
        self.line_in_text = line_in_text


class ProtocolError(SidecarError):
    """A peer and this proxy do not agree about the bytes between them."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol: it is answered and counted.

    ``status`` is the HTTP status that a downstream gets for it, ``details`` Envoy's response code
    details (``http1.codec_error``), ``h2_code`` the RFC 9113 §7 error code.
    """

    def __init__(
        self, reason: str, *, status: int = 400, details: str = "http1.codec_error", h2_code: int = 1
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.details = details
        self.h2_code = h2_code


class LocalProtocolError(ProtocolError):
    """This proxy was about to break the protocol: a bug here or in a filter; 500 and a traceback."""


class UpstreamError(SidecarError):
    """A try at an upstream host failed.

    ``flag`` is the response flag bit (:class:`sidecar.api.stream.Flag`), ``details`` Envoy's details
    without the ``upstream_reset_before_response_started{…}`` wrapping, ``retryable`` whether the
    request can be sent again without the peer seeing it twice.
    """

    def __init__(self, reason: str, *, flag: int, details: str, retryable: bool = False) -> None:
        super().__init__(reason)
        self.flag = flag
        self.details = details
        self.retryable = retryable
        #: Whether there were tries before this one.
        self.was_retried = False
        #: Whether nothing was waited for before.
        self.is_immediate = False


class StreamAborted(SidecarError):
    """Control flow inside one stream: stop here and send ``reply``.  Never crosses a nursery.

    ``received``: bytes of a body that were read before, where it was for its length.
    """

    def __init__(self, reply: LocalReply, *, received: int = 0) -> None:
        super().__init__(reply.details)
        self.reply = reply
        self.received = received


class Disconnected(SidecarError):
    """The client is gone: nothing can be sent any more."""


class StreamClosed(Disconnected):
    """A filter closed the stream for a reason of its own: nothing more is sent, and no client is to blame."""


class DeadlineExceeded(SidecarError):
    """A deadline of the strand passed.  ``kind`` names which: ``total``, ``idle`` or ``flush``."""

    def __init__(self, kind: str = "total") -> None:
        super().__init__(kind)
        self.kind = kind


class ExtensionError(SidecarError):
    """A filter failed; it harms its own request alone."""


class LuaError(ExtensionError):
    """A Lua script raised; the message carries script line numbers."""


class XdsError(SidecarError):
    """A control plane sent something that cannot be used."""


def forget_frames(error: BaseException) -> None:
    """An error that was kept is raised no more: let go of what stood in the frames that it passed.

    Where one of them has what keeps the error, both wait for the garbage collector otherwise.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
