"""The answer to ``POST /tap``: traces, while the client stays or until there are enough."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.admin.tap import Gathering
from sidecar.router.push_body import PushBody

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.api.taps import Attached, Taps
    from sidecar.net.reactor import Reactor
    from sidecar.server.role import Role

__all__ = ["AdminTap"]

logger = logging.getLogger("sidecar.admin")

#: Traces that a client does not read: those that come then are left out.
_LIMIT_BYTES = 16 * 1024 * 1024


class AdminTap:
    """The one tap of a server, and the stream of the admin interface that asked for it.

    It is one of the interface's access loggers, and so hears of the end of that stream, however it ends.
    """

    def __init__(
        self,
        reactor: Reactor,
        taps: Taps,
        role: Role,
        every: Callable[[float, Callable[[], None]], Callable[[], None]],
    ) -> None:
        self._reactor = reactor
        self._taps = taps
        self._role = role
        self._every = every
        self._stream: Stream | None = None
        self._body: PushBody | None = None
        self._cancel_timer: Callable[[], None] | None = None

    def begin(self, stream: Stream, request: bytes, attached: Attached) -> PushBody:
        """The body of the answer."""
        self._stream = stream
        body = self._body = PushBody(self._reactor, _LIMIT_BYTES)
        gathering = Gathering(attached, self._send, body.end)
        self._taps.attach(gathering.attached)
        self._role.call("tap", request=b64encode(request).decode())
        if attached.tap.timeout_s:
            self._cancel_timer = self._every(attached.tap.timeout_s, gathering.finish)
        return body

    def _send(self, trace: bytes) -> None:
        if self._body is not None and not self._body.try_push(trace):
            logger.warning("a trace was left out: who asked for the tap does not read")

    # -- AccessLogger ------------------------------------------------------------------------------
    def log(self, stream: Stream) -> None:
        """A stream of the interface has ended: with the one that tapped ends the tap."""
        if stream is not self._stream:
            return
        self._stream = self._body = None
        self._taps.detach()
        self._role.call("tap_end")
        cancel, self._cancel_timer = self._cancel_timer, None
        if cancel is not None:
            cancel()

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is open."""
