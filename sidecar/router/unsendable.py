"""Field values that cannot be sent, and Envoy's answer to a request that has got one."""

from __future__ import annotations

import re

from sidecar.api.message import LocalReply
from sidecar.api.stream import Flag

__all__ = ["BAD_VALUE", "invalid_value", "unsendable_reply"]

#: What no field value may hold (RFC 9110 §5.5): controls, line breaks among them.
BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def invalid_value(name: bytes) -> str:
    """Envoy's text for a value that cannot be sent."""
    return "invalid header value for: " + name.decode("latin-1").encode("unicode_escape").decode()


def unsendable_reply(problem: str) -> LocalReply:
    """The answer of Envoy's router to a request with a field that cannot be sent."""
    details = f"filter_removed_required_request_headers{{{problem}}}".replace(" ", "_")
    return LocalReply(503, problem.encode(), details, Flag.DOWNSTREAM_PROTOCOL_ERROR)
