"""A log service for scenarios: what it received of each proxy, without what differs from run to run."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any

import trio
from google.protobuf.json_format import MessageToJson

from sidecar.config.messages import message_class

from .lab import Session
from .proxy import POLL_S
from .upstream import H2Call

_HEAD = [(":status", "200"), ("content-type", "application/grpc")]
_TIMES = ("start_time", "duration")


class LogService:
    """Takes streams of access logs on the upstream of that name, which speaks HTTP/2."""

    def __init__(self, s: Session, name: str = "als") -> None:
        self._session = s
        self._upstream = s.upstream(name)
        self._upstream.h2_script = self._serve
        #: Of each stream the messages, and how many entries came at all.
        self.streams: list[list[Any]] = []
        self.paths: list[str] = []
        self.count = 0
        self._calls: list[H2Call] = []

    async def _serve(self, call: H2Call) -> None:
        self._upstream.seen.clear()
        cls: Any = message_class("envoy.service.accesslog.v3.StreamAccessLogsMessage")
        self.paths.append(call.path)
        self._calls.append(call)
        messages: list[Any] = []
        self.streams.append(messages)
        await call.answer_open(_HEAD)
        taken = 0
        stream = call.stream
        while True:
            grew = stream.grew
            body = bytes(stream.body)
            while len(body) >= taken + 5:
                size = int.from_bytes(body[taken + 1 : taken + 5], "big")
                if len(body) < taken + 5 + size:
                    break
                message = cls.FromString(body[taken + 5 : taken + 5 + size])
                messages.append(message)
                self.count += len(message.http_logs.log_entry) + len(message.tcp_logs.log_entry)
                taken += 5 + size
            if stream.ended.is_set() or call not in self._calls:
                break
            await grew.wait()

    async def end_streams(self) -> None:
        """End every stream with a status that is good."""
        calls, self._calls = self._calls, []
        for call in calls:
            await call.peer.headers(call.stream, [("grpc-status", "0")], end=True)
            call.stream.end()

    async def until(self, count: int) -> None:
        """Wait for that many entries in all."""
        while self.count < count:  # noqa: ASYNC110 - another process sends them
            await trio.sleep(POLL_S)

    async def see(self, count: int, label: str = "entries", unseen: Container[str] = ()) -> None:
        """Wait for that many entries since the last time, and observe them in the order of their coming.

        unseen: fields that are not looked at.
        """
        await self.until(count)
        entries = []
        for messages in self.streams:
            for message in messages:
                entries += [shown(each, unseen) for each in message.http_logs.log_entry]
                entries += [shown(each, unseen) for each in message.tcp_logs.log_entry]
            messages.clear()
        self.count = 0
        self._session.see(label, entries)


def shown(entry: Any, unseen: Container[str] = ()) -> dict[str, Any]:
    """An entry; of times it is told that they are there."""
    out: dict[str, Any] = json.loads(MessageToJson(entry, preserving_proto_field_name=True, sort_keys=True))
    common = out["common_properties"]
    for key in list(common):
        if key in unseen:
            del common[key]
        elif key in _TIMES or key.startswith("time_to_"):
            common[key] = "a time"
        elif key.endswith("_address"):
            common[key] = _address(common[key])
    for side in ("request", "response"):
        for key in list(out.get(side, {})):
            if key in unseen:
                del out[side][key]
    return out


def _address(value: dict[str, Any]) -> str:
    socket = value.get("socket_address")
    return str(value) if socket is None else f"{socket['address']}:{socket['port_value']}"
