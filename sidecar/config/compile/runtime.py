"""``layered_runtime`` (envoy.config.bootstrap.v3.LayeredRuntime) compiled: its layers, how values are read.

Nested structs and dotted names mean the same key.  A value is text that is read as everything it can be: a
number, a flag, a share (``{numerator: 5, denominator: TEN_THOUSAND}``).  The layers that change are kept by
:mod:`sidecar.server.runtime_layers`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from google.protobuf import text_format

from sidecar.config.nodes import Mapping, Scalar
from sidecar.config.yaml_text import read_yaml
from sidecar.core.errors import ConfigError
from sidecar.core.runtime import Entry, Layer, Runtime

__all__ = ["compile_runtime", "parse_entry", "struct_entries"]

_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
_MOST = 2**64


def compile_runtime(bootstrap: Any) -> Runtime:
    """The runtime of a ``Bootstrap``, with what its static layers say.  Raises: ConfigError."""
    layers = []
    is_live = False
    names: set[str] = set()
    has_admin = False
    messages = bootstrap.layered_runtime.layers
    for index, message in enumerate(messages):
        path = f"layered_runtime.layers[{index}]"
        if message.name in names:
            raise ConfigError(f"{path}.name", f"Duplicate layer name: {message.name}")
        names.add(message.name)
        kind = message.WhichOneof("layer_specifier")
        layer = Layer(message.name)
        if kind == "static_layer":
            layer.values = struct_entries(message.static_layer, f"{path}.static_layer")
        else:
            is_live = True
        if kind == "admin_layer":
            if has_admin:
                reason = "Too many admin layers specified in LayeredRuntime, at most one may be specified"
                raise ConfigError(f"{path}.admin_layer", reason)
            has_admin = True
        layers.append(layer)
    if bootstrap.HasField("layered_runtime") and not messages:
        layers.append(Layer(""))
        is_live = True
    return Runtime(layers, is_live=is_live)


def struct_entries(struct: Any, path: str) -> dict[str, Entry]:
    """The values of a ``google.protobuf.Struct`` by their keys.  Raises: ConfigError under ``path``."""
    entries: dict[str, Entry] = {}
    for name, value in struct.fields.items():
        _walk(name, value, entries, path)
    return entries


def _walk(key: str, value: Any, entries: dict[str, Entry], path: str) -> None:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        entries.setdefault(key, parse_entry(value.string_value))
    elif kind == "bool_value":
        text = "true" if value.bool_value else "false"
        entries.setdefault(key, Entry(text, boolean=value.bool_value))
    elif kind == "number_value":
        entries.setdefault(key, _of_number(value.number_value))
    elif kind == "struct_value":
        fields = value.struct_value.fields
        if not fields or "numerator" in fields or "denominator" in fields:
            # Envoy prints it for debugging, which its library marks.
            printed = text_format.MessageToString(value.struct_value).replace(".0\n", "\n")
            text = f"goo.gle/debugstr \n{printed}"
            entries.setdefault(key, Entry(text, fraction=_fraction(_plain(fields))))
            return
        for name, inner in fields.items():
            _walk(f"{key}.{name}", inner, entries, path)
    else:
        raise ConfigError(path, f"Invalid runtime entry value for {key}")


def _of_number(number: float) -> Entry:
    text = str(int(number)) if number.is_integer() else repr(number)
    is_whole = number.is_integer() and 0 <= number < _MOST
    integer = int(number) if is_whole else None
    return Entry(text, boolean=number != 0, integer=integer, double=number)


def parse_entry(text: str) -> Entry:
    """What somebody wrote: into a file, to the admin API, or as text into a layer.  It is read as YAML."""
    root = read_yaml(text.encode(), "runtime").root if ":" in text else None
    if isinstance(root, Mapping):
        tree = {name: getattr(node, "value", None) for name, (_, node) in root.entries.items()}
        return Entry(text, fraction=_fraction(tree))
    value = _scalar(text)
    if isinstance(value, bool):
        return Entry(text, boolean=value)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return Entry(text)
    if value is None or not math.isfinite(value):
        return Entry(text)
    return replace(_of_number(float(value)), text=text)


def _scalar(text: str) -> Any:
    """What a line of YAML says, if it is one value."""
    if not text.strip() or "\n" in text:
        return None
    root = read_yaml(b"value: " + text.encode(), "runtime").root
    node = root.entries["value"][1] if isinstance(root, Mapping) and "value" in root.entries else None
    return node.value if isinstance(node, Scalar) else None


def _plain(fields: Any) -> dict[str, Any]:
    return {name: getattr(value, value.WhichOneof("kind") or "null_value") for name, value in fields.items()}


def _fraction(tree: Any) -> tuple[int, int] | None:
    """A ``FractionalPercent``; None for what is none."""
    if not isinstance(tree, dict) or tree.keys() - {"numerator", "denominator"}:
        return None
    numerator, name = tree.get("numerator", 0), tree.get("denominator", "HUNDRED")
    denominator = _DENOMINATORS.get(name)
    if isinstance(name, int | float) and name in (0, 1, 2):
        denominator = tuple(_DENOMINATORS.values())[int(name)]
    if denominator is None or isinstance(numerator, bool) or not isinstance(numerator, int | float):
        return None
    return (int(numerator), denominator) if numerator == int(numerator) and numerator >= 0 else None
