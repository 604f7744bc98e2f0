"""The format of the proxy's own log, as the bootstrap has it."""

from __future__ import annotations

import json
import logging
from typing import Any

from google.protobuf import json_format

from sidecar.config.application_log import application_log_pattern
from sidecar.config.messages import message_class
from sidecar.core.log import PatternFormatter, tags_of


def make_bootstrap(log_format: dict[str, Any] | None) -> Any:
    cls = message_class("envoy.config.bootstrap.v3.Bootstrap")
    assert cls is not None
    tree = {} if log_format is None else {"application_log_config": {"log_format": log_format}}
    return json_format.ParseDict(tree, cls())


def test_command_line_decides_where_the_bootstrap_says_nothing() -> None:
    assert application_log_pattern(make_bootstrap(None)) is None


def test_text_is_a_pattern() -> None:
    assert application_log_pattern(make_bootstrap({"text_format": "%l %v"})) == "%l %v"


def test_json_has_the_message_without_tags_and_the_tags_at_its_end() -> None:
    tree = {"level": "%l", "message": "%j", "nested": {"number": 3, "list": [True, None, "%n"]}}
    pattern = application_log_pattern(make_bootstrap({"json_format": tree}))
    assert pattern is not None
    message = tags_of(1, 2) + 'say "so"\n'
    record = logging.LogRecord("sidecar.http", logging.INFO, "x.py", 1, message, (), None)
    assert json.loads(PatternFormatter(pattern).format(record)) == {
        "level": "info",
        "message": 'say "so"\n',
        "nested": {"number": 3, "list": [True, None, "http"]},
        "ConnectionId": "1",
        "StreamId": "2",
    }
