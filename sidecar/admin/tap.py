"""``POST /tap``: the body says what to record, the answer is a stream of traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidecar.api.taps import Attached, Taps
from sidecar.config.compile.tap import compile_tap_request
from sidecar.config.decode import Decoder
from sidecar.config.errors import format_path
from sidecar.config.messages import message_class
from sidecar.config.validate_rules import check
from sidecar.config.walk import walk
from sidecar.config.yaml_text import read_yaml
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.core.runtime import Runtime

__all__ = ["BadTap", "Gathering", "read_tap"]


class BadTap(Exception):
    """Why a request is answered with 400."""


def read_tap(body: bytes, taps: Taps, runtime: Runtime) -> tuple[bytes, Attached]:
    """The request in protobuf's form, for workers, and the tap that it asks for.  Raises: BadTap."""
    if taps.attached is not None:
        raise BadTap("An attached /tap admin stream already exists. Detach it.")
    if not body:
        raise BadTap("/tap requires a JSON/YAML body")
    request: Any = message_class("envoy.admin.v3.TapRequest")()  # type: ignore[misc]  # the API has it
    document = read_yaml(body, "/tap")
    problems = list(document.problems)
    if document.root is not None:
        decoder = Decoder(allow_unknown_fields=False)
        decoder.decode(document.root, request)
        problems += decoder.problems
    errors = [f"{each.path}: {each.reason}" if each.path else each.reason for each in problems]
    errors = errors or [
        f"{format_path((*path, *below))}: {reason}"
        for path, message in walk(request)
        for below, reason in check(message)
    ]
    if errors:
        raise BadTap("; ".join(errors))
    if not taps.knows(request.config_id):
        raise BadTap(f"Unknown config id '{request.config_id}'. No extension has registered with this id.")
    data: bytes = request.SerializeToString()
    try:
        return data, compile_tap_request(data, runtime)
    except ConfigError as error:
        raise BadTap(f"{error.path}: {error.reason}") from error


class Gathering:
    """Where traces of an attached tap go: to the answer at once, or so many of them together."""

    def __init__(self, attached: Attached, send: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self.attached = replace(attached, emit=self.take)
        self._send = send
        self._end = end
        self._held: list[bytes] = []
        self._is_over = False

    def take(self, trace: bytes) -> None:
        """A trace was recorded."""
        if self._is_over:
            return
        tap = self.attached.tap
        if tap.sink != "buffered_admin":
            self._send(trace)
            return
        self._held.append(trace)
        if len(self._held) >= tap.max_traces:
            self.finish()

    def finish(self) -> None:
        """Give what was gathered, and end the answer: there are enough, or the time is over."""
        if self._is_over:
            return
        self._is_over = True
        for each in self._held:
            self._send(each)
        self._end()
