"""What an authorization service said of a request, without the message that it said it in."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from sidecar.core.dataclass import dataclass
from sidecar.core.headers import Field

__all__ = ["DENIED", "ERROR", "OK", "Decision"]

OK, DENIED, ERROR = range(3)

#: Name and value of a header; of a query parameter.
Pair = tuple[bytes, bytes]


@dataclass(slots=True)
class Decision:
    """One answer.  Nothing in it has been checked."""

    verdict: int = ERROR
    #: Of the refusal's answer; 0 leaves an error's to ``status_on_error``.
    status: int = 0
    body: bytes = b""
    #: Headers of the request, in the groups and the order that they are applied in.
    to_set: list[Field] = field(default_factory=list)
    to_add: list[Field] = field(default_factory=list)
    to_append: list[Field] = field(default_factory=list)
    to_remove: list[bytes] = field(default_factory=list)
    #: Headers of the answer to the client.
    response_to_add: list[Field] = field(default_factory=list)
    response_to_set: list[Field] = field(default_factory=list)
    response_to_add_if_absent: list[Field] = field(default_factory=list)
    response_to_overwrite: list[Field] = field(default_factory=list)
    #: Headers of the refusal.
    local_headers: list[Field] = field(default_factory=list)
    query_to_set: list[Pair] = field(default_factory=list)
    query_to_remove: list[bytes] = field(default_factory=list)
    #: Goes into the dynamic metadata of the filter.
    metadata: dict[str, Any] = field(default_factory=dict)
    #: Some header had an ``append_action`` that does not exist.
    saw_invalid_action: bool = False
