"""A header edit: names the caller to the upstream, and hides who made the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.api.stream import Stream


@dataclass
class Settings:
    """``names``: users by their API keys."""

    names: dict[str, str]
    header: str = "x-user"


class Greeting(HttpFilter):
    """Lets those in who have a key."""

    Settings = Settings

    def __init__(self, settings: Settings, services: Any) -> None:
        self._names = {key.encode(): name.encode() for key, name in settings.names.items()}
        self._header = settings.header.lower().encode()
        self._refused = services.stats.counter("refused")

    def decode_headers(self, stream: Stream) -> LocalReply | None:
        headers = stream.request.headers
        name = self._names.get(headers.get(b"x-api-key") or b"")
        if name is None:
            self._refused.inc()
            return LocalReply(401, b"who are you?", "greeting_refused")
        headers.remove(b"x-api-key")
        headers.set(self._header, name)
        return None

    def encode_headers(self, stream: Stream) -> None:
        assert stream.response is not None
        stream.response.headers.remove(b"x-powered-by")
