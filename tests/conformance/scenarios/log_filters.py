# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Filters of access logs, and of local replies, by dynamic metadata."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, file_log, listener, parse
from ..lab import Session
from ..scenario import Setup, scenario

SUBJECT = "observability"

LUA = """
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          local value = handle:headers():get("x-value")
          if value == "number" then value = 7 end
          if value == "table" then value = {inner = "deep"} end
          if value == "yes" then value = true end
          if value then handle:streamInfo():dynamicMetadata():set("space", "key", value) end
        end
"""
#: Each is a log of its own.
MATCHERS = {
    "exact": "matcher: {filter: space, path: [{key: key}], value: {string_match: {exact: text}}}",
    "strict": "{matcher: {filter: space, path: [{key: key}], value: {string_match: {exact: text}}}, match_if_key_not_found: false}",
    "inverted": "{matcher: {filter: space, path: [{key: key}], value: {string_match: {exact: text}}, invert: true}, match_if_key_not_found: false}",
    "number": "{matcher: {filter: space, path: [{key: key}], value: {double_match: {exact: 7}}}, match_if_key_not_found: false}",
    "present": "{matcher: {filter: space, path: [{key: key}], value: {present_match: true}}, match_if_key_not_found: false}",
    "boolean": "{matcher: {filter: space, path: [{key: key}], value: {bool_match: true}}, match_if_key_not_found: false}",
    "deep": "{matcher: {filter: space, path: [{key: key}, {key: inner}], value: {string_match: {prefix: de}}}, match_if_key_not_found: false}",
    "elsewhere": "{matcher: {filter: other, path: [{key: key}], value: {string_match: {exact: text}}}, match_if_key_not_found: true}",
    "nothing": "{}",
    "never": "match_if_key_not_found: false",
}


def logs() -> list[dict[str, Any]]:
    made = []
    for name, text in MATCHERS.items():
        log = file_log("FILE(one.log)", f"{name} %REQ(x-value)%\n")
        log["filter"] = {"metadata_filter": parse(text)}
        made.append(log)
    return made


REPLY = """
local_reply_config:
  mappers:
  - filter: {metadata_filter: {matcher: {filter: space, path: [{key: key}], value: {string_match: {exact: text}}}, match_if_key_not_found: false}}
    status_code: 499
"""
SETUP = Setup(
    "log-filters",
    bootstrap(
        [
            listener(
                "one",
                f"access_log: {json.dumps(logs())}\n{REPLY}",
                routes="- {match: {prefix: /}, direct_response: {status: 200}}",
                filters=LUA,
            )
        ]
    ),
)


@scenario(SETUP)
async def log_filter_metadata(s: Session) -> None:
    """metadata_filter: the value, or match_if_key_not_found where there is none."""
    async with s.logging(14, "one"):
        for value in ("text", "other", "number", "table", "yes"):
            await s.get("/", f"x-value: {value}", to="one", label=value)
        await s.get("/", to="one", label="none")
