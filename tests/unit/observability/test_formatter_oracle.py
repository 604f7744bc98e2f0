"""Formats compared with Envoy: the same refusals, and the same lines for the same request."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from sidecar.observability.formatter import compile_json, compile_text, encoded
from tests.support.oracle_binary import envoy_binary

from .oracle import Oracle, http_listener
from .streams import make_stream
from .test_formatter import FORMAT_ERRORS, TREE

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(envoy_binary() is None, reason="Envoy is not installed"),
]

FILE_TYPE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
ROUTES = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]


def file_log(path: Path | str, log_format: dict[str, object]) -> dict[str, object]:
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {"@type": FILE_TYPE, "path": str(path), "log_format": log_format},
    }


@pytest.mark.parametrize(("text_format", "message"), FORMAT_ERRORS)
def test_wrong_format_is_refused_by_the_oracle_in_these_words(
    text_format: str, message: str, tmp_path: Path
) -> None:
    log = file_log("/dev/null", {"text_format_source": {"inline_string": text_format}})
    config = tmp_path / "envoy.json"
    listener = http_listener("main", ROUTES, access_log=[log])
    config.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    command = [envoy_binary() or "envoy", "--mode", "validate", "-c", str(config), "-l", "error"]
    found = subprocess.run([*command, "--use-dynamic-base-id"], capture_output=True, timeout=20, check=False)
    assert found.returncode == 1
    assert message in (found.stdout + found.stderr).decode()


TEXT = (
    "%REQ(:METHOD)%|%REQ(x-a)%|%REQ(x-b):3%|%REQ(nope)%|%REQ(X-NOPE?X-A):1%|%REQ(host)%|%PATH%|%PATH(NQ)%|"
    "%PATH(NQ:ORIG)%|%QUERY_PARAM(a)%|%QUERY_PARAM(e)%|%QUERY_PARAMS%|%QUERY_PARAMS(DECODED)%|%PROTOCOL%|"
    "%RESPONSE_CODE%|%RESPONSE_CODE_DETAILS%|%RESPONSE_FLAGS%|%BYTES_RECEIVED%|%BYTES_SENT%|"
    "%UPSTREAM_HOST%|%UPSTREAM_CLUSTER%|%ROUTE_NAME%|%RESPONSE_TX_DURATION%|%REQUESTED_SERVER_NAME%|"
    "%REQUESTED_SERVER_NAME(HOST_FIRST)%|%DYNAMIC_METADATA(a:b)%|%UPSTREAM_CONNECTION_ID%|"
    "%DOWNSTREAM_TLS_VERSION%|%TRACE_ID%|%GRPC_STATUS%|%CUSTOM_FLAGS%|%LOCAL_REPLY_BODY%|%HOSTNAME%|"
    "%ENVIRONMENT(HOME)%|%ACCESS_LOG_TYPE%|%%\n"
)
FORMATS: list[dict[str, object]] = [
    {"text_format_source": {"inline_string": TEXT}},
    {"text_format_source": {"inline_string": TEXT}, "omit_empty_values": True},
    {"json_format": {**TREE, "a": "%REQ(x-a)%", "b": "%REQ(x-b)%"}},
    {"json_format": TREE, "omit_empty_values": True},
    {"json_format": TREE, "json_format_options": {"sort_properties": True}},
]


def test_lines_of_a_request_are_the_oracles(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    listener = http_listener("main", ROUTES, access_log=[file_log(log, entry) for entry in FORMATS])
    target = "/d?a=1&e=%41+1%20x"
    with Oracle(tmp_path, {"static_resources": {"listeners": [listener]}}) as oracle:
        oracle.send("main", target, {"host": "h:1", "x-a": 'a"b\\/<', "x-b": "caf\xe9"})
        deadline = time.monotonic() + 10
        while log.read_bytes().count(b"\n") < len(FORMATS) and time.monotonic() < deadline:
            time.sleep(0.01)
    stream = make_stream(
        path=target.encode(), fields=[(b"x-a", b'a"b\\/<'), (b"x-b", b"caf\xe9")], response=[]
    )
    stream.details = "direct_response"
    lines = [
        compile_text(TEXT),
        compile_text(TEXT, omit_empty=True),
        compile_json(FORMATS[2]["json_format"]),  # type: ignore[arg-type]
        compile_json(TREE, omit_empty=True),
        compile_json(TREE),
    ]
    assert b"".join(encoded(line(stream)) for line in lines) == log.read_bytes()
