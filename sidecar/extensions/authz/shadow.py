"""What filters of authorization keep in filter state: decisions that are only watched, and facts of calls.

``ShadowDecision`` of the HTTP filter and of the network filter, seen on Envoy: plain as JSON with the names
of the API, typed with those of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sidecar.core.headers import Field
from sidecar.observability.metadata_operators import StateMessage

__all__ = ["keep", "shadow_decision"]


def keep(holder: Any, name: str, value: Any) -> None:
    """Keep ``value`` in the filter state of a stream or a connection."""
    if holder.filter_state is None:
        holder.filter_state = {}
    holder.filter_state[name] = value


def shadow_decision(result: str, status: int, headers: Sequence[Field] = ()) -> StateMessage:
    """``OK``, ``DENIED`` or ``ERROR``, the status that it had been, and the headers of a refusal."""
    fields: dict[str, Any] = {"check_result": result}
    if status:
        fields["status_code"] = status
    if headers:
        fields["response_headers"] = [
            {"key": name.decode("latin-1"), "value": value.decode("latin-1")} for name, value in headers
        ]
    typed = {_JSON_NAMES[name]: value for name, value in fields.items()}
    return StateMessage(typed, plain=_in_order(fields), typed=_in_order(typed))


def _in_order(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


_JSON_NAMES = {
    "check_result": "checkResult",
    "status_code": "statusCode",
    "response_headers": "responseHeaders",
}
