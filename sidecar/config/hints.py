"""What to write instead: the hints that go with the errors of a configuration.

Called by :mod:`sidecar.config.decode` and :mod:`sidecar.config.semantics`; nothing here reports.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from sidecar.config import known_extensions
from sidecar.config.errors import Path, format_path
from sidecar.config.nearest import nearest
from sidecar.config.nodes import Mapping, Node, Scalar

__all__ = [
    "any_lines",
    "missing_type",
    "rule_hint",
    "unknown_extension",
    "unknown_field",
    "unknown_name",
    "unknown_type",
]


def any_lines(name: str, category: str = "") -> str | None:
    """The ``typed_config`` that the extension name stands for, as lines to add."""
    message = known_extensions.config_type(name, category)
    return None if message is None else f'typed_config:\n  "@type": type.googleapis.com/{message}'


def missing_type(name: str | None) -> str | None:
    """For an Any without ``@type`` beside the extension name ``name``."""
    message = known_extensions.config_type(name) if name else None
    return None if message is None else f'add:\n"@type": type.googleapis.com/{message}'


def unknown_extension(name: str, category: str = "") -> str | None:
    """For an extension without ``typed_config``: the lines to add, or the nearest name."""
    lines = any_lines(name, category)
    if lines is not None:
        return f"add:\n{lines}"
    near = nearest(name, known_extensions.names())
    return f"did you mean {near}?" if near else None


def unknown_type(message: str) -> str | None:
    """For an ``@type`` that names no message."""
    near = nearest(message, known_extensions.types())
    if near is None:
        last = message.rpartition(".")[2]
        same = [known for known in known_extensions.types() if known.rpartition(".")[2] == last]
        near = min(same, key=lambda known: (len(known), known), default=None)
    return f"did you mean type.googleapis.com/{near}?" if near else None


def unknown_field(
    name: str, value: Node, descriptor: Descriptor, parent: Descriptor | None, path: Path
) -> str | None:
    """For a field that the message does not have: where it, or what it holds, belongs."""
    own = [field.name for field in descriptor.fields]
    if descriptor.full_name == "envoy.type.v3.Percent":
        return f"{path[-1] if path else 'it'} is a Percent: write {{value: {_percent(value)}}}"
    if isinstance(value, Mapping) and value.entries and all(key in own for key in value.entries):
        inner = ", ".join(value.entries)
        where = format_path(path) or "the file"
        return f"'{name}' is no field; {inner} belong one level up, directly under {where}"
    if name == "<<":
        return "Envoy has no merge keys: repeat the fields"
    close = nearest(name, own)
    if close is not None and (len(name) < 6 or name.casefold()[:3] == close.casefold()[:3]):
        return f"did you mean {close}?"
    if parent is not None and name in parent.fields_by_name:
        beside = path[-1] if isinstance(path[-1], str) else format_path(path)
        return f"{name} belongs one level up, beside {beside}"
    below = [
        field.name
        for field in descriptor.fields
        if field.message_type is not None and name in field.message_type.fields_by_name and not _is_map(field)
    ]
    if below:
        return f"{name} belongs one level down, under {_either(below)}"
    if close is not None:
        return f"did you mean {close}?"
    if 0 < len(own) <= 6:
        return f"the fields here are {', '.join(own)}"
    return None


def unknown_name(name: str, known: Iterable[str]) -> str | None:
    """For a reference (to a cluster, say) that names nothing."""
    known = sorted(known)
    near = nearest(name, known)
    if near is not None:
        return f"did you mean '{near}'?"
    if 0 < len(known) <= 6:
        return f"known: {', '.join(known)}"
    return None


def _either(names: list[str]) -> str:
    return " or ".join(names[:3])


def _is_map(field: object) -> bool:
    kind = getattr(field, "message_type", None)
    return kind is not None and bool(kind.GetOptions().map_entry)


def _percent(value: Node) -> str:
    """The percentage that a FractionalPercent written in the Percent's place means."""
    denominators = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
    if isinstance(value, Mapping):
        numerator = value.entries.get("numerator")
        denominator = value.entries.get("denominator")
        if numerator is not None and isinstance(numerator[1], Scalar) and isinstance(numerator[1].value, int):
            text = (
                denominator[1].value
                if denominator is not None and isinstance(denominator[1], Scalar)
                else "HUNDRED"
            )
            percent = 100 * numerator[1].value / denominators.get(str(text), 100)
            return f"{percent:g}"
    return "100"


#: Successors of deprecated fields that a hint is worth.
_SUCCESSORS = {
    "envoy.config.route.v3.HeaderMatcher.exact_match": "write string_match: {exact: ...}",
    "envoy.config.route.v3.HeaderMatcher.prefix_match": "write string_match: {prefix: ...}",
    "envoy.config.route.v3.HeaderMatcher.suffix_match": "write string_match: {suffix: ...}",
    "envoy.config.route.v3.HeaderMatcher.contains_match": "write string_match: {contains: ...}",
    "envoy.config.route.v3.HeaderMatcher.safe_regex_match": "write string_match: {safe_regex: ...}",
    "envoy.config.route.v3.WeightedCluster.total_weight": "leave it out: the weights' sum counts",
    "envoy.extensions.filters.http.lua.v3.Lua.inline_code": "write default_source_code: {inline_string: ...}",
    "envoy.config.cluster.v3.Cluster.http2_protocol_options": "it moved to typed_extension_protocol_options",
    "envoy.extensions.filters.http.compressor.v3.Compressor.CommonDirectionConfig.content_type": (
        "write content_type_matcher: [{exact: ...}]"
    ),
    "envoy.config.core.v3.HeaderValueOption.append": "write append_action",
}


def rule_hint(message: Message, suffix: Path) -> str | None:
    """For a rule that ``message`` breaks, or a deprecated field of it, at ``suffix``."""
    descriptor = message.DESCRIPTOR
    field = str(suffix[0]) if suffix else ""
    successor = _SUCCESSORS.get(f"{descriptor.full_name}.{field}")
    if successor is not None:
        return successor
    if descriptor.full_name == "envoy.config.core.v3.TransportSocket" and field == "name":
        packed = getattr(message, "typed_config")  # noqa: B009 the generated classes have no types
        name = known_extensions.name_of(packed.type_url.rpartition("/")[2])
        return f"add:\nname: {name}" if name is not None else None
    return None


_SAMPLES = {
    "google.protobuf.Duration": "1s",
    "google.protobuf.UInt32Value": "1",
    "google.protobuf.BoolValue": "true",
}


def required_hint(message: Message, field: str) -> str:
    """For a field that must be set: what to add."""
    kind = message.DESCRIPTOR.fields_by_name[field].message_type
    sample = _SAMPLES.get(kind.full_name) if kind is not None else None
    return f"add {field}" if sample is None else f"add {field}: {sample}, say"
