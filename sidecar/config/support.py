"""Tells what a configuration sets and sidecar does not implement: nothing is ignored in silence.

Walks the messages by the positive table (:mod:`sidecar.config.supported`) and takes what to say from
the negative one (:mod:`sidecar.config.unsupported`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from sidecar.config import known_extensions
from sidecar.config.check_extensions import CATEGORIES, UPSTREAM_HTTP, category_of
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.registry import resolve_any
from sidecar.config.supported import CORE_TYPES, SUPPORTED, SUPPORTED_AT
from sidecar.config.unsupported import ENTRIES, Action, Entry, extension_entry, subject_of

__all__ = ["check_support"]

#: Messages that are values, with nothing in them to support.
_VALUES = ("google.protobuf.", "google.api.expr.", "cel.expr.", "opentelemetry.proto.")
_ANY = "google.protobuf.Any"
_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"
_HTTP_FILTERS = "envoy.filters.http"
#: Categories of filters, and of what stands around connections and datagrams.
_LISTED = (
    _HTTP_FILTERS,
    "envoy.filters.network",
    "envoy.filters.listener",
    "envoy.filters.udp",
    "envoy.transport_sockets.",
)
#: Which extensions a field takes, beside those whose entries are checked.
_CATEGORIES = {
    ("envoy.config.route.v3.RateLimit.Action", "extension"): "envoy.rate_limit_descriptors",
    ("envoy.config.core.v3.SubstitutionFormatString", "formatters"): "envoy.formatter",
    (
        "envoy.config.cluster.v3.LoadBalancingPolicy.Policy",
        "typed_extension_config",
    ): "envoy.load_balancing_policies",
    **CATEGORIES,
}


@cache
def _entries() -> dict[tuple[str, str], list[Entry]]:
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in ENTRIES:
        found.setdefault((entry.message, entry.field), []).append(entry)
    return found


def check_support(context: Context, path: Path, message: Any, category: str = "", place: str = "") -> None:
    """Report each field set in ``message``, or deeper, that is not implemented; once, at the outermost.

    ``place`` is the field that leads here, ``category`` the extensions that it takes.
    """
    name = message.DESCRIPTOR.full_name
    if name == _ANY:
        _check_any(context, path, message, category)
        return
    if name.startswith(_VALUES):
        return
    supported = SUPPORTED_AT.get(place)
    if supported is None:
        supported = SUPPORTED.get(name)
    if supported is None:
        # A factory of our own may be configured by a message that is not of Envoy's API.
        return
    for field, value in message.ListFields():
        _check_field(context, path, message, field, value, supported)


def _check_field(
    context: Context, path: Path, message: Any, field: FieldDescriptor, value: Any, supported: frozenset[str]
) -> None:
    name = message.DESCRIPTOR.full_name
    here = (*path, field.name)
    known = field.name in supported or "*" in supported
    for entry in _entries().get((name, field.name), ()):
        if entry.when is None:
            if not known:
                _tell(context, here, "", entry.action, entry.subject)
                return
        elif entry.when(message):
            _tell(context, here, "this value is ", entry.action, entry.subject)
            return
    if not known:
        _tell(context, here, "", "warn", subject_of(name))
        return
    kind = field.message_type
    if kind is None:
        return
    category = category_of(message, field.name, _CATEGORIES.get((name, field.name), ""))
    if kind.GetOptions().map_entry:
        if kind.fields_by_name["value"].message_type is not None:
            for key in value:
                if field.name == "typed_per_filter_config":
                    _check_route_config(context, (*here, key), value[key])
                else:
                    check_support(context, (*here, key), value[key], _category_of_map(field.name))
    elif field.is_repeated:
        for index, item in enumerate(value):
            _check_entry(context, (*here, index), item, category)
    else:
        _check_entry(context, here, value, category, f"{name}.{field.name}")


def _category_of_map(field: str) -> str:
    return "envoy.upstream_options" if field == "typed_extension_protocol_options" else ""


def _check_entry(context: Context, path: Path, item: Any, category: str, place: str = "") -> None:
    """An extension's entry hands its category to the Any in it; any other message has none."""
    packed = getattr(item, "typed_config", None) if category else None
    if packed is None or packed.DESCRIPTOR.full_name != _ANY:
        check_support(context, path, item, category, place)
        return
    if packed.type_url:
        _check_any(context, (*path, "typed_config"), packed, category)
    supported = SUPPORTED.get(item.DESCRIPTOR.full_name)
    for field, value in item.ListFields() if supported is not None else ():
        if field.name != "typed_config":
            _check_field(context, path, item, field, value, supported or frozenset())


def _check_any(context: Context, path: Path, packed: Any, category: str) -> None:
    name, inner = resolve_any(packed)
    factory = context.registry.by_type(name)
    if category == UPSTREAM_HTTP and factory is not None and not getattr(factory, "is_upstream", False):
        if name in known_extensions.types(category):
            _tell(
                context,
                path,
                "on the way to an upstream this filter is ",
                "refuse_to_serve",
                "upstream filters",
            )
    elif factory is not None or name in CORE_TYPES:
        if inner is not None:
            check_support(context, path, inner)
    elif name in known_extensions.types(category):
        action, subject = extension_entry(category, name)
        label = known_extensions.name_of(name) or name
        _tell(context, path, f"the extension {label} is ", action, subject, _others(context, category))


def _others(context: Context, category: str) -> str:
    """Which filters and transport sockets there are; of other categories there are too many."""
    if category == UPSTREAM_HTTP or not category.startswith(_LISTED):
        return ""
    names = {each.name for each in context.registry.factories() if each.category == category}
    if category == _HTTP_FILTERS:
        short = sorted(each.rpartition(".")[2] for each in names if each.startswith(f"{category}."))
        return f"; of {category} there are {', '.join(short)}" if short else "; there is none of its kind"
    if category.startswith("envoy.transport_sockets."):
        names.add("envoy.transport_sockets.raw_buffer")
    return f"; of its kind there are {', '.join(sorted(names))}" if names else "; there is none of its kind"


def _check_route_config(context: Context, path: Path, packed: Any) -> None:
    """One entry of ``typed_per_filter_config``: what a filter is told for one route."""
    name, inner = resolve_any(packed)
    if name == _FILTER_CONFIG and inner is not None:
        config: Any = inner
        for field, value in config.ListFields():
            if field.name != "config":
                _check_field(context, path, config, field, value, SUPPORTED[_FILTER_CONFIG])
        if config.config.type_url and not config.disabled:
            _check_route_config(context, (*path, "config"), config.config)
    elif context.registry.by_route_type(name) is not None:
        if inner is not None:
            check_support(context, path, inner)
    else:
        action, subject = extension_entry(_HTTP_FILTERS, name)
        label = known_extensions.name_of(name) or name
        _tell(context, path, f"the configuration of {label} for a route is ", action, subject)


def _tell(
    context: Context, path: Path, what: str, action: Action, subject: str | None, others: str = ""
) -> None:
    text = f"{what}known to Envoy's API, not implemented yet by sidecar" + (f": {subject}" if subject else "")
    if action == "refuse":
        context.report.error(path, text)
    elif action == "refuse_to_serve":
        context.report.refuse_to_serve(path, text, f"it would be unsafe or wrong to serve without it{others}")
    else:
        context.report.warning(path, text, "it has no effect")
