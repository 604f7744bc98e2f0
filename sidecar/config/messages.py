"""Finds protobuf message classes by name, importing their modules when first asked for.

The API has some 600 modules and importing them all takes most of a second, so nothing imports them
ahead of use: the package of ``envoy.extensions.filters.http.lua.v3.Lua`` is a directory, and of its
modules the one named after the message is tried first.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from sidecar.config import api_additions, own_messages

__all__ = ["message_class", "type_name", "unpack"]

#: Only API packages are ever imported by a name that stands in a configuration.
_NAME = re.compile(
    r"((?:envoy|xds|udpa|sidecar|google\.protobuf)(?:\.[a-z][a-z0-9_]*)*)\.([A-Z]\w*)((?:\.[A-Z]\w*)*)\Z"
)
#: The package still ships the v2 API, which Envoy no longer reads.
_RETIRED = re.compile(r"\.v2(?:alpha)?(?:\.|\Z)")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: Modules of google.protobuf are named after their contents, not after their messages.
_WELL_KNOWN = ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers")


@cache
def message_class(full_name: str) -> type[Message] | None:
    """The class of the message, or None where the API has no such message."""
    match = _NAME.match(full_name)
    if match is None or _RETIRED.search(match.group(1)):
        return None
    api_additions.install()
    if match.group(1).startswith("sidecar."):
        own_messages.install()
    found = _find(full_name)
    if found is None:
        for module in _modules(match.group(1), match.group(2)):
            importlib.import_module(module)
            found = _find(full_name)
            if found is not None:
                break
    return found


def type_name(url: str) -> str:
    """The message name in a type URL: what stands behind the last slash."""
    return url.rpartition("/")[2]


def unpack(packed: Any) -> Any | None:
    """The message inside a ``google.protobuf.Any``; None where its type or bytes are unknown."""
    found = message_class(type_name(packed.type_url))
    if found is None:
        return None
    try:
        return found.FromString(packed.value)
    except DecodeError:
        return None


def _find(full_name: str) -> type[Message] | None:
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None
    found: type[Message] = message_factory.GetMessageClass(descriptor)
    return found


def _modules(package: str, message: str) -> list[str]:
    """The modules of ``package``, the likeliest for ``message`` first."""
    if package == "google.protobuf":
        return [f"google.protobuf.{name}_pb2" for name in _WELL_KNOWN]
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return []
    locations = spec.submodule_search_locations if spec is not None else None
    if not locations:
        return []
    names = sorted(
        name.rpartition("_pb2.")[0]
        for location in locations
        for name in os.listdir(location)
        # Images have them compiled, without their source.
        if name.endswith(("_pb2.py", "_pb2.pyc"))
    )
    words = _HUMP.sub("_", message).lower()
    names.sort(key=lambda name: (name != words, not words.startswith(name), name))
    return [f"{package}.{name}_pb2" for name in names]
