"""What the log tells of connections and streams at ``debug``, with their ids in front as in Envoy.

Nothing is done, and nothing costs but a look at :attr:`Switch.on`, while the logger ``http`` says less.
Secrets of headers are not written.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from sidecar.core.log import tags_of, watch

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["log_begin", "log_end", "switch"]

logger = logging.getLogger("sidecar.http")
_SECRETS = frozenset((b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"))
#: Of the one generator that is seeded anew in a copy of the process.
_random_bits = random.getrandbits


class Switch:
    """Whether there is anything to be told."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = False
        watch(self._look)

    def _look(self) -> None:
        self.on = logger.isEnabledFor(logging.DEBUG)


switch = Switch()


def log_begin(stream: Stream) -> None:
    """The head of a request is here."""
    if not stream.log_id:
        stream.log_id = _random_bits(63) or 1
    request = stream.request
    headers = request.headers
    pseudo = [
        (b":" + name, value)
        for name in (b"authority", b"path", b"method", b"scheme")
        if (value := getattr(headers, name.decode())) is not None
    ]
    ended = "true" if request.body is None else "false"
    _tell(stream, "request headers complete (end_stream=%s):%s", ended, _shown(pseudo, headers))


def log_end(stream: Stream) -> None:
    """The stream is over, and its response sent as far as it was."""
    if not stream.log_id:
        stream.log_id = _random_bits(63) or 1
    headers = stream.response_headers
    if headers is not None:
        status = [(b":status", b"%d" % stream.response_code)]
        _tell(stream, "response headers were sent:%s", _shown(status, headers))
    _tell(stream, "stream complete: details %s", stream.details or "-")


def _tell(stream: Stream, text: str, *values: str) -> None:
    logger.debug("%s" + text, tags_of(stream.connection.connection_id, stream.log_id), *values)


def _shown(pseudo: list[tuple[bytes, bytes]], headers: HeaderMap) -> str:
    lines = []
    for name, value in (*pseudo, *headers.fields):
        text = "[redacted]" if name.lower() in _SECRETS else value.decode("latin-1")
        lines.append(f"\n'{name.decode('latin-1')}', '{text}'")
    return "".join(lines)
