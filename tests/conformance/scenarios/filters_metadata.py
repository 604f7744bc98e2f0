"""envoy.filters.http.header_to_metadata and set_metadata: what goes into dynamic metadata."""

from __future__ import annotations

import base64

from google.protobuf import struct_pb2

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "filters"

EXT = "type.googleapis.com/envoy.extensions.filters.http"
H2M = f'"@type": {EXT}.header_to_metadata.v3.Config'
SET = f'"@type": {EXT}.set_metadata.v3.Config'
RULES = """
request_rules:
- {header: x-plain, on_header_present: {key: plain}, on_header_missing: {key: plain, value: absent}}
- {header: x-own, on_header_present: {metadata_namespace: own, key: a, value: fixed}, remove: true}
- {header: x-number, on_header_present: {key: number, type: NUMBER}}
- {header: x-base64, on_header_present: {key: decoded, encode: BASE64}}
- {header: x-proto, on_header_present: {key: proto, type: PROTOBUF_VALUE, encode: BASE64}}
- {cookie: session, on_header_present: {key: session}, on_header_missing: {key: session, value: none}}
- header: :path
  on_header_present: {key: path,
    regex_value_rewrite: {pattern: {regex: "^/(\\\\w+)/?.*$"}, substitution: "\\\\1"}}
response_rules:
- {header: x-app, on_header_present: {key: app, metadata_namespace: own}, remove: true}
- {header: x-none, on_header_missing: {key: none, metadata_namespace: own, value: "yes"}}
"""
ROUTES = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - match: {{prefix: /route}}
      route: {{cluster: app}}
      typed_per_filter_config: {{h2m: {{{H2M},
        request_rules: [{{header: x-plain, on_header_present: {{key: r}}}}]}}}}
    - {{match: {{prefix: /}}, route: {{cluster: app}}}}
"""
SETS = f"""- name: first
  typed_config: {{{SET}, metadata_namespace: old, value: {{a: 1, l: [1], s: {{x: 1, y: 2}}}}}}
- name: second
  typed_config:
    {SET[:7]}: {SET[9:]}
    metadata:
    - {{metadata_namespace: old, value: {{a: 2, l: [2], s: {{x: 3, z: 4}}, n: null}}}}
    - {{metadata_namespace: old, allow_overwrite: true,
       value: {{a: [3], l: [2], s: {{x: 3, z: 4}}, n: null, b: true}}}}
    - {{metadata_namespace: new, value: {{a: text}}}}
"""
LOG = "%REQ(:PATH)% %DYNAMIC_METADATA(envoy.filters.http.header_to_metadata)% %DYNAMIC_METADATA(own)%\n"
SETUP = Setup(
    "filters_metadata",
    bootstrap(
        [
            listener(
                "h2m",
                ROUTES,
                filters="- name: h2m\n  typed_config:\n    "
                + f"{H2M[:7]}: {H2M[9:]}\n"
                + "\n".join("    " + line for line in RULES.strip().splitlines()),
                log=LOG,
            ),
            listener(
                "set",
                routes="- {match: {prefix: /}, route: {cluster: app}}",
                filters=SETS,
                log="%DYNAMIC_METADATA(old)% %DYNAMIC_METADATA(new)%\n",
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


def packed(value: struct_pb2.Value) -> str:
    return base64.b64encode(value.SerializeToString()).decode()


@scenario(SETUP)
async def header_to_metadata(s: Session) -> None:
    """Headers and cookies of every kind, and the rules of a route instead of the filter's."""
    s.upstream().script = answers(ok(b"ok", "x-app: 1", "x-app: 2"))
    struct = struct_pb2.Value(struct_value=struct_pb2.Struct(fields={"k": struct_pb2.Value(bool_value=True)}))
    requests = (
        [],
        ["x-plain: a"],
        ["x-plain: a", "x-plain: b"],
        ["x-plain: "],
        ["x-own: gone"],
        ["x-number: 42"],
        ["x-number:  -1.5e3 "],
        ["x-number: many"],
        ["x-base64: aGVsbG8="],
        ["x-base64: aGVsbG8"],
        ["x-base64: %%%"],
        ["x-proto: " + packed(struct_pb2.Value(string_value="text"))],
        ["x-proto: " + packed(struct)],
        ["x-proto: aGVsbG8="],
        ["cookie: a=b; session=abc"],
        ['cookie: session="quoted"'],
        ["cookie: session="],
        ["x-plain: " + "x" * 8191],
        ["x-plain: " + "x" * 8192],
    )
    async with s.logging(len(requests) + 3, "h2m"):
        for fields in requests:
            await s.get("/word/more", *fields, to="h2m")
        await s.get("/route", "x-plain: r", "x-own: stays", to="h2m")
        await s.get("/route", to="h2m")
        await s.get("/", to="h2m")


@scenario(SETUP)
async def set_metadata(s: Session) -> None:
    """Entries of the old fields and of the new, and how they are merged."""
    s.upstream().script = answers(ok(b"ok"))
    async with s.logging(1, "set"):
        await s.get("/", to="set")
