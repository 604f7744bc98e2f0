"""An async call to a cluster: a quota service is asked before a request goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.api.stream import Stream
from sidecar.core.errors import SidecarError


@dataclass
class Settings:
    """``cluster`` answers ``GET /quota/USER`` with ``{"left": N}``."""

    cluster: str
    timeout_s: float = 0.5
    lets_pass_if_down: bool = True


class Quota(HttpFilter):
    """Asks, and tells the client what is left."""

    Settings = Settings

    def __init__(self, settings: Settings, services: Any) -> None:
        self._settings = settings
        self._services = services

    async def decode_headers(self, stream: Stream) -> LocalReply | None:
        user = (stream.request.headers.get(b"x-user") or b"nobody").decode("latin-1")
        settings = self._settings
        try:
            answer = await self._services.request(
                settings.cluster, "GET", f"/quota/{user}", timeout_s=settings.timeout_s
            )
        except SidecarError:
            if settings.lets_pass_if_down:
                return None
            return LocalReply(503, b"nobody counts", "quota_unavailable")
        left = int(json.loads(answer.body)["left"]) if answer.headers.status == 200 else 0
        if left <= 0:
            return LocalReply(429, b"come back later", "quota_exceeded")
        stream.metadata_namespace("quota")["left"] = left
        return None

    def encode_headers(self, stream: Stream) -> None:
        left = (stream.dynamic_metadata or {}).get("quota", {}).get("left")
        if left is not None and stream.response is not None:
            stream.response.headers.set(b"x-quota-left", b"%d" % left)
