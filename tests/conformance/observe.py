"""Normalising an observation: what differs from run to run is replaced by its checked shape.

A value is hidden only where it has the shape it must have; anything else stays and shows up as a difference.
Text that the scenario itself sent (a client's own request id, an upstream's own date) is never hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from sidecar.net.interfaces import local_address

_DATE = re.compile(r"^(date: )(\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT)$", re.IGNORECASE)
_SERVICE_TIME = re.compile(r"^(x-envoy-upstream-service-time: )(\d+)$", re.IGNORECASE)
#: Seconds of an hour that has just begun: what waits for the next token of a bucket that is filled hourly.
_NEXT_TOKEN = re.compile(r"^((?:x-ratelimit-reset|retry-after): )(35[5-9]\d|3600)$")
_FORWARDED_FOR = re.compile(r"^(x-forwarded-for: (?:.*,)?)(\d+\.\d+\.\d+\.\d+)$")
_FORWARDED_PORT = re.compile(r"^(x-forwarded-port: )(\d{1,5})$")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b")
#: Ids of a trace and of a span, where a header or a label says that they are such.
_TRACE = re.compile(r"(?:(?<=trace[:=])|(?<=traceparent: 00-))[0-9a-f]{32}(?![0-9a-f])")
_SPAN = re.compile(r"(?:(?<=span[:=])|(?<=-))[0-9a-f]{16}(?=-0[01]$|$|[ \"])")
_ADDRESS = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):(\d{4,5})\b")


class Normaliser:
    """Hides what may differ. `ports` names the ports of this run, `sent` is what the scenario itself sent."""

    def __init__(self, ports: Mapping[int, str], sent: bytes) -> None:
        self._ports = ports
        self._sent = sent.decode("latin-1")
        #: Ids of traces and spans, in the order in which they are first met.
        self._ids: dict[str, str] = {}

    def tree(self, value: object) -> object:
        """The same tree with every string normalised."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list | tuple):
            return [self.tree(item) for item in value]
        if isinstance(value, dict):
            return {self._text(str(key)): self.tree(item) for key, item in value.items()}
        return value

    def _text(self, text: str) -> str:
        for pattern, shape in ((_DATE, "<http date>"), (_SERVICE_TIME, "<ms>"), (_NEXT_TOKEN, "<an hour>")):
            if (match := pattern.match(text)) and match[2] not in self._sent_values(match[1], match[2]):
                return match[1] + shape
        if (match := _FORWARDED_FOR.match(text)) and match[2] == local_address():
            # A loopback peer is appended as the machine's own address, another one on each machine.
            return f"{match[1]}<own address>"
        if (match := _FORWARDED_PORT.match(text)) and int(match[2]) in self._ports:
            return f"{match[1]}<{self._ports[int(match[2])]}>"
        text = _UUID.sub(self._uuid, text)
        if "trace" in text or "span" in text:
            text = _SPAN.sub(partial(self._id, "span"), _TRACE.sub(partial(self._id, "trace"), text))
        return _ADDRESS.sub(self._address, text)

    def _sent_values(self, name: str, value: str) -> tuple[str, ...]:
        whole = re.escape(f"{name}{value}") + r"(?![0-9A-Za-z])"
        return (value,) if re.search(whole, self._sent, re.IGNORECASE) else ()

    def _uuid(self, match: re.Match[str]) -> str:
        return match[0] if match[0] in self._sent else f"<uuid with digit {match[1]}>"

    def _id(self, kind: str, match: re.Match[str]) -> str:
        if match[0] in self._sent.lower():
            return match[0]
        name = self._ids.get(match[0])
        if name is None:
            number = sum(each.startswith(f"<{kind} ") for each in self._ids.values()) + 1
            name = self._ids[match[0]] = f"<{kind} {number}>"
        return name

    def _address(self, match: re.Match[str]) -> str:
        port = int(match[2])
        if port in self._ports:
            return f"{match[1]}:<{self._ports[port]}>"
        return match[0] if match[0] in self._sent else f"{match[1]}:<port>"


def leaves(value: object, path: str = "") -> dict[str, object]:
    """The tree as `path → leaf`; an empty container is a leaf."""
    if isinstance(value, dict) and value:
        return {k: v for key, item in value.items() for k, v in leaves(item, f"{path}.{key}").items()}
    if isinstance(value, list) and value:
        return {k: v for i, item in enumerate(value) for k, v in leaves(item, f"{path}[{i}]").items()}
    return {path.removeprefix("."): value}
