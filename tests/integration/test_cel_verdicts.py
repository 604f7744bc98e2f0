"""Expressions in CEL that a configuration may carry: what Envoy refuses is refused, each tried on Envoy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from config_oracle import HCM, ROUTER, envoy_verdict

from sidecar.core.errors import SidecarError
from sidecar.observability.formatter import compile_text

pytestmark = pytest.mark.oracle

FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
#: Expressions, and whether each is fine.
EXPRESSIONS = {
    "request.path": True,
    "nope.nope == 1": True,
    "'a' + 'b'": True,
    "'x'.matches(request.method)": True,
    "re.extract('a', '(', 'x')": True,
    "{'a': 1, 'a': 2}": True,
    "google.protobuf.Duration{seconds: 3}": True,
    "google.protobuf.Nope{}": False,
    "google.protobuf.Duration{nope: 3}": False,
    "1 +": False,
    "": False,
    "request.path == 'é": False,
    "9223372036854775808": False,
    "string(1)": False,
    "'A'.lowerAscii()": False,
    "'a,b'.split(',')": False,
    "foo(1)": False,
    "request.path.foo()": False,
    "size(1, 2)": False,
    "'a'.size(1)": False,
    "'a'.startsWith()": False,
    "startsWith('a', 'b')": True,
    "request.time.getHours('UTC', 1)": False,
    "[1, 2].exists(x, x == 1)": False,
    "[1, 2].map(x, x)": False,
    "has(request)": False,
    "request.?path": False,
    "cel.bind(x, 1, x)": False,
    "math.greatest(1, 2)": False,
    "'abc'.matches('(')": False,
    "'abc'.matches('(a|b|c){40}')": False,
    "matches('abc', '(a|b|c){40}')": False,
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression_is_refused_where_envoy_refuses_it(expression: str, tmp_path: Path) -> None:
    log = {
        "name": "log",
        "typed_config": {
            "@type": FILE_LOG,
            "path": str(tmp_path / "log"),
            "log_format": {"json_format": {"e": f"%CEL({expression})%"}},
        },
    }
    hcm = {
        "@type": f"type.googleapis.com/{HCM}",
        "stat_prefix": "s",
        "route_config": {"virtual_hosts": []},
        "access_log": [log],
        "http_filters": [{"name": "router", "typed_config": {"@type": f"type.googleapis.com/{ROUTER}"}}],
    }
    listener = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": hcm}]}],
    }
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    theirs = envoy_verdict(file)
    assert theirs.accepted is EXPRESSIONS[expression], theirs.text
    if theirs.accepted:
        compile_text(f"%CEL({expression})%")
        return
    with pytest.raises(SidecarError):
        compile_text(f"%CEL({expression})%")
