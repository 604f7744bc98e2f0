"""``application_log_config`` of the bootstrap: in which format the proxy's own log is written.

``envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig.LogFormat``.  JSON is a pattern of spdlog as well,
with the message without its tags, and the tags at the end of the object (Envoy's
``Logger::setJsonLogFormat``).
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["application_log_pattern", "check_log_format"]

#: Flags whose text could break the JSON.
_NOT_JSON = ("%v", "%_")


def check_log_format(context: Context, path: Path, message: Any) -> None:
    """Flags that JSON cannot have."""
    if message.WhichOneof("log_format") != "json_format":
        return
    text = _json_text(message)
    for flag in _NOT_JSON:
        if flag in text:
            reason = f"INVALID_ARGUMENT: Usage of {flag} is unavailable for JSON log formats"
            reason = f"setJsonLogFormat error: {reason}"
            context.report.error((*path, "json_format"), reason)
            return


def application_log_pattern(bootstrap: Any) -> str | None:
    """The pattern of log lines; None where the bootstrap leaves it to the command line."""
    if not bootstrap.application_log_config.HasField("log_format"):
        return None
    message = bootstrap.application_log_config.log_format
    if message.WhichOneof("log_format") == "text_format":
        text: str = message.text_format
        return text
    return _json_text(message).replace("%j", "%+")[:-1] + "%*}"


def _json_text(message: Any) -> str:
    tree = json_format.MessageToDict(message.json_format)
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False)
