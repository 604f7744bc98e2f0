# ruff: noqa: E501  (a case is a line of a table)
"""Options of connection managers: what Envoy accepts and refuses, wholly compiled, each case tried on Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_oracle import envoy_verdict
from test_config_verdicts import conf

from sidecar.cli.main import main

pytestmark = pytest.mark.oracle


def added(option: str, field: str = "request_headers_to_add") -> str:
    return conf(hcm="", routes=f"{field}: [{option}]")


def value(text: str) -> str:
    return added("{header: {key: x-a, value: '" + text.replace("'", "''") + "'}}")


def mapper(text: str) -> str:
    return conf(hcm=f"local_reply_config: {{mappers: [{text}]}}")


ANY = "filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: a}}}}"
HEADERS = {
    "append and append_action": added(
        "{header: {key: a, value: b}, append: true, append_action: ADD_IF_ABSENT}"
    ),
    "append and the default action": added(
        "{header: {key: a, value: b}, append: false, append_action: APPEND_IF_EXISTS_OR_ADD}"
    ),
    "append_action unknown": added("{header: {key: a, value: b}, append_action: SOMETIMES}"),
    "value and raw_value": added("{header: {key: a, value: b, raw_value: YQ==}}"),
    "raw_value": added("{header: {key: a, raw_value: YQ==}}"),
    "neither value": added("{header: {key: a}}"),
    "no header": added("{append_action: ADD_IF_ABSENT}"),
    "name with a space": added("{header: {key: 'a b', value: c}}"),
    "name with a colon": added("{header: {key: 'a:b', value: c}}"),
    "name with a line end": added('{header: {key: "a\\nb", value: c}}'),
    "host in a response": added("{header: {key: Host, value: c}}", "response_headers_to_add"),
    ":status in a response": added("{header: {key: ':status', value: c}}", "response_headers_to_add"),
    "long value": added("{header: {key: a, value: " + "x" * 16385 + "}}"),
    "unknown operator": value("%PROTOCOLS%"),
    "lone percent": value("100%"),
    "percent pair": value("100%%"),
    "three percents": value("%%%"),
    "no end": value("%REQ(a"),
    "no name": value("%REQ()%"),
    "no argument": value("%REQ%"),
    "lower case": value("%protocol%"),
    "argument where none belongs": value("%PROTOCOL(a)%"),
    "length where none belongs": value("%PROTOCOL:3%"),
    "bad length": value("%REQ(a):b%"),
    "three alternatives": value("%REQ(a?b?c)%"),
    "JSON metadata": value('%UPSTREAM_METADATA(["a", "b"])%'),
    "JSON metadata of numbers": value('%UPSTREAM_METADATA(["a", 1])%'),
    "JSON metadata broken": value('%UPSTREAM_METADATA(["a")%'),
    "JSON metadata of numbers in a response": added(
        "{header: {key: a, value: '%DYNAMIC_METADATA([1])%'}}", "response_headers_to_add"
    ),
    "JSON metadata of nothing": value("%UPSTREAM_METADATA([])%"),
    "formatter extension": value("%REQ_WITHOUT_QUERY(:path)%"),
    "metadata of an unknown kind": value("%METADATA(NOTHING:a)%"),
    "empty state": value("%PER_REQUEST_STATE()%"),
}
LOCAL = {
    "empty": conf(hcm="local_reply_config: {}"),
    "mapper without filter": mapper("{status_code: 404}"),
    "mapper": mapper(f"{{{ANY}}}"),
    "status 99": mapper(f"{{{ANY}, status_code: 99}}"),
    "status 600": mapper(f"{{{ANY}, status_code: 600}}"),
    "status 200": mapper(f"{{{ANY}, status_code: 200}}"),
    "empty body": mapper(f"{{{ANY}, body: {{inline_string: ''}}}}"),
    "body without source": mapper(f"{{{ANY}, body: {{}}}}"),
    "body from nowhere": mapper(f"{{{ANY}, body: {{filename: /nowhere}}}}"),
    "empty format": mapper(f"{{{ANY}, body_format_override: {{}}}}"),
    "empty text": mapper(f"{{{ANY}, body_format_override: {{text_format_source: {{inline_string: ''}}}}}}"),
    "unknown operator": mapper(
        f"{{{ANY}, body_format_override: {{text_format_source: {{inline_string: '%A%'}}}}}}"
    ),
    "unknown operator in JSON": conf(hcm="local_reply_config: {body_format: {json_format: {a: {b: '%X%'}}}}"),
    "empty JSON": conf(hcm="local_reply_config: {body_format: {json_format: {}}}"),
    "header host": mapper(f"{{{ANY}, headers_to_add: [{{header: {{key: host, value: a}}}}]}}"),
    "header :status": mapper(f"{{{ANY}, headers_to_add: [{{header: {{key: ':status', value: a}}}}]}}"),
    "header with an unknown operator": mapper(
        f"{{{ANY}, headers_to_add: [{{header: {{key: a, value: '%A%'}}}}]}}"
    ),
    "filter without kind": mapper("{filter: {}}"),
    "unknown flag": mapper("{filter: {response_flag_filter: {flags: [XX]}}}"),
    "text and JSON": conf(hcm="local_reply_config: {body_format: {text_format: a, json_format: {a: b}}}"),
    "content type with a line end": conf(
        hcm='local_reply_config: {body_format: {text_format: a, content_type: "a\\nb"}}'
    ),
}
CASES = {
    f"{group} {name}": text
    for group, table in (("header", HEADERS), ("local", LOCAL))
    for name, text in table.items()
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_connection_manager_gets_envoys_verdict(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    theirs = envoy_verdict(file)
    accepted = main(["--mode", "validate", "-c", str(file)]) == 0
    assert accepted is theirs.accepted, f"Envoy: {theirs.text}\nours: {capsys.readouterr().err}"
