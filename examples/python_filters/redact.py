"""A body rewrite: numbers like those of payment cards leave as stars, however the body is cut into chunks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sidecar.api.filters import HttpFilter
from sidecar.api.stream import Stream
from sidecar.core.headers import HeaderMap

_CARD = re.compile(rb"\b\d{13,16}\b")
#: The longest number, and the byte on either side of it.
_HELD = 18


@dataclass
class Settings:
    """``types``: beginnings of the content types that are looked at."""

    types: list[str]


class Redact(HttpFilter):
    """Rewrites bodies of responses as they pass."""

    Settings = Settings

    def __init__(self, settings: Settings, services: Any) -> None:
        self._types = tuple(each.encode() for each in settings.types)

    def encode_headers(self, stream: Stream) -> None:
        response = stream.response
        assert response is not None
        kind = response.headers.get(b"content-type") or b""
        if response.body is not None and kind.startswith(self._types):
            response.pipe_body(_Stars())  # as long as before: the length stays


class _Stars:
    """Holds the last bytes back, where a number may go on in the next chunk."""

    def __init__(self) -> None:
        self._held = b""

    def push(self, data: bytes, end_stream: bool) -> bytes:
        data = self._held + data
        data = _CARD.sub(lambda match: b"*" * len(match[0]), data) if end_stream else self._sure(data)
        return data

    def end(self, trailers: HeaderMap) -> bytes:
        return self.push(b"", True)

    def _sure(self, data: bytes) -> bytes:
        cut = max(len(data) - _HELD, 0)
        while cut and data[cut - 1 : cut].isalnum():
            cut -= 1
        self._held = data[cut:]
        return _CARD.sub(lambda match: b"*" * len(match[0]), data[:cut])
