"""Messages of our own: what sidecar adds to Envoy's API, each off unless a file names it by its type URL.

The table below is the declaration, in the place of ``.proto`` files: ``NUMBER NAME TYPE [RULES]`` for a
field, ``enum NAME: VALUE …`` for an enum inside of a message.  The messages go into protobuf's default pool
when one of them is first asked for, with ``validate.rules`` as Envoy's have them, so that they are decoded,
checked and reported like any other.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool

__all__ = ["MESSAGES", "PACKAGES", "install"]

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "string": _FIELD.TYPE_STRING,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}
_LUA = "sidecar.extensions.filters.http.lua.v1"
_WASM = "sidecar.extensions.filters.http.wasm.v1"
_JWT = "sidecar.extensions.filters.http.jwt_authn.v1"
_PYTHON = "sidecar.extensions.filters.http.python.v1"
_ADMIN = "sidecar.extensions.admin.v1"
_DOWNSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
#: By package; a ``*`` behind a type makes a list, ``map `` ahead of it a map from strings.
PACKAGES: dict[str, dict[str, tuple[str, ...]]] = {
    _LUA: {
        "Lua": (
            "enum OnError: FAIL_OPEN FAIL_CLOSED",
            "1 lua envoy.extensions.filters.http.lua.v3.Lua required",
            "2 on_error OnError",
            "3 stack_traces bool",
            "4 limits Limits",
            "5 shared_dictionaries map SharedDictionary",
            "6 jwt_providers map JwtProvider",
        ),
        "LuaPerRoute": (
            "1 lua envoy.extensions.filters.http.lua.v3.LuaPerRoute required",
            "2 limits Limits",
            "3 stack_traces bool",
        ),
        "Limits": (
            "1 instructions uint64",
            "2 time google.protobuf.Duration",
            "3 memory_bytes uint64",
        ),
        "SharedDictionary": ("1 max_entries uint32", "2 max_bytes uint64"),
        "JwtProvider": (
            "1 issuer string",
            "2 audiences string*",
            "3 jwks envoy.config.core.v3.DataSource required",
            "4 clock_skew google.protobuf.Duration",
        ),
    },
    _WASM: {
        "Wasm": (
            "enum Isolation: SHARED STREAM",
            "1 wasm envoy.extensions.filters.http.wasm.v3.Wasm required",
            "2 isolation Isolation",
            "3 limits Limits",
        ),
        "Limits": (
            "1 memory_bytes uint64",
            "2 call_time google.protobuf.Duration",
            "3 start_time google.protobuf.Duration",
            "4 output_bytes uint64",
            "5 log_bytes_per_second uint64",
        ),
    },
    _JWT: {
        "JwtAuthentication": (
            "1 jwt_authn envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication required",
            "2 providers map ProviderOptions",
            "3 private_denials bool",
        ),
        "PerRouteConfig": ("1 jwt_authn envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig required",),
        "ProviderOptions": (
            "enum WhenUnreachable: DENY UNAVAILABLE",
            "1 discovery envoy.config.core.v3.HttpUri",
            "2 when_unreachable WhenUnreachable",
            "3 keep_keys_for google.protobuf.Duration",
        ),
    },
    _ADMIN: {
        "AdminAccess": (
            "1 read_only bool",
            "2 bearer_token envoy.config.core.v3.DataSource",
            f"3 tls {_DOWNSTREAM_TLS}",
        ),
    },
    _PYTHON: {
        "Python": (
            "1 filter string not_empty",
            "2 settings google.protobuf.Struct",
        ),
    },
}
#: Their full names.
MESSAGES = tuple(f"{package}.{name}" for package, messages in PACKAGES.items() for name in messages)


@cache
def install() -> None:
    """Put the messages into the pool."""
    for package, messages in PACKAGES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=package.replace(".", "/") + "/messages.proto", package=package, syntax="proto3"
        )
        needed = {"validate/validate.proto"}
        for name, lines in messages.items():
            message = file.message_type.add(name=name)
            for line in lines:
                _declare(file, message, line, needed, set(messages))
        for dependency in sorted(needed):
            importlib.import_module(dependency.removesuffix(".proto").replace("/", ".") + "_pb2")
            file.dependency.append(dependency)
        descriptor_pool.Default().Add(file)


def _declare(file: Any, message: Any, line: str, needed: set[str], own: set[str]) -> None:
    if line.startswith("enum "):
        name, _, values = line.removeprefix("enum ").partition(":")
        enum = message.enum_type.add(name=name)
        for index, value in enumerate(values.split()):
            enum.value.add(name=value, number=index)
        return
    number, name, rest = line.split(" ", 2)
    is_map = rest.startswith("map ")
    kind, *rules = rest.removeprefix("map ").split()
    is_list = kind.endswith("*")
    field = message.field.add(
        name=name,
        number=int(number),
        label=_FIELD.LABEL_REPEATED if is_list or is_map else _FIELD.LABEL_OPTIONAL,
        json_name=_json_name(name),
    )
    kind = kind.removesuffix("*")
    enums = {each.name for each in message.enum_type}
    scope = f".{file.package}"
    if is_map:
        entry = message.nested_type.add(name="".join(map(str.capitalize, name.split("_"))) + "Entry")
        entry.options.map_entry = True
        entry.field.add(
            name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING, json_name="key"
        )
        value = entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL, json_name="value")
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f"{scope}.{message.name}.{entry.name}"
        _set_type(value, kind, scope, message.name, enums, own, needed)
    else:
        _set_type(field, kind, scope, message.name, enums, own, needed)
    if rules:
        from validate import validate_pb2

        extension = field.options.Extensions[validate_pb2.rules]
        if "required" in rules:
            extension.message.required = True
        if "not_empty" in rules:
            extension.string.min_len = 1


def _set_type(
    field: Any, kind: str, scope: str, message: str, enums: set[str], own: set[str], needed: set[str]
) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    elif kind in enums:
        field.type, field.type_name = _FIELD.TYPE_ENUM, f"{scope}.{message}.{kind}"
    elif kind in own:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f"{scope}.{kind}"
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{kind}"
        needed.add(_FILES[kind])


_JWT_FILE = "envoy/extensions/filters/http/jwt_authn/v3/config.proto"
_FILES = {
    "envoy.extensions.filters.http.lua.v3.Lua": "envoy/extensions/filters/http/lua/v3/lua.proto",
    "envoy.extensions.filters.http.lua.v3.LuaPerRoute": "envoy/extensions/filters/http/lua/v3/lua.proto",
    "envoy.extensions.filters.http.wasm.v3.Wasm": "envoy/extensions/filters/http/wasm/v3/wasm.proto",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": _JWT_FILE,
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig": _JWT_FILE,
    _DOWNSTREAM_TLS: "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy.config.core.v3.HttpUri": "envoy/config/core/v3/http_uri.proto",
    "envoy.config.core.v3.DataSource": "envoy/config/core/v3/base.proto",
    "google.protobuf.Duration": "google/protobuf/duration.proto",
    "google.protobuf.Struct": "google/protobuf/struct.proto",
}


def _json_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))
