"""Compiles HeaderMutation and HeaderMutationPerRoute (envoy.extensions.filters.http.header_mutation.v3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.ordered_mutations import compile_ordered_mutations
from sidecar.config.compile.substitution_format import explain_format_error
from sidecar.core.errors import ConfigError, SidecarError
from sidecar.extensions.http.header_mutation import HeaderMutationFilter, RouteMutations, SideMutations
from sidecar.extensions.http.query_mutation import QueryAddition, QueryRemoval
from sidecar.observability.formatter import compile_header_value
from sidecar.router.ordered_mutations import OrderedMutations

__all__ = ["HeaderMutationFactory"]

_NEITHER = "One of 'append'/'remove' must be specified."
_MESSAGES = "envoy.extensions.filters.http.header_mutation.v3"


class HeaderMutationFactory:
    """``envoy.filters.http.header_mutation``."""

    name = "envoy.filters.http.header_mutation"
    category = "envoy.filters.http"
    config_type = f"{_MESSAGES}.HeaderMutation"
    is_upstream = True
    #: Full name of the message under ``typed_per_filter_config``.
    route_config_type = f"{_MESSAGES}.HeaderMutationPerRoute"

    def compile(self, message: Any, context: FactoryContext) -> HeaderMutationFilter:
        """The filter.  Raises: ConfigError."""
        own = _side_mutations(message.mutations, f"{context.path}.mutations")
        return HeaderMutationFilter(own, most_specific_wins=message.most_specific_header_mutations_wins)

    def compile_route(self, message: Any, context: FactoryContext) -> RouteMutations:
        """What one level adds.  Raises: ConfigError."""
        return RouteMutations((_side_mutations(message.mutations, f"{context.path}.mutations"),))


def _side_mutations(message: Any, path: str) -> SideMutations:
    def ordered(field: str) -> OrderedMutations | None:
        mutations = getattr(message, field)
        return compile_ordered_mutations(mutations, f"{path}.{field}") if mutations else None

    return SideMutations(
        request=ordered("request_mutations"),
        response=ordered("response_mutations"),
        request_trailers=ordered("request_trailers_mutations"),
        response_trailers=ordered("response_trailers_mutations"),
        query=tuple(_query_mutations(message.query_parameter_mutations, f"{path}.query_parameter_mutations")),
    )


def _query_mutations(mutations: Any, path: str) -> Iterator[QueryAddition | QueryRemoval]:
    for index, each in enumerate(mutations):
        at = f"{path}[{index}]"
        if bool(each.remove) == each.HasField("append"):
            reason = "Only one of 'append'/'remove can be specified." if each.remove else _NEITHER
            raise ConfigError(at, reason)
        if each.remove:
            yield QueryRemoval(each.remove.encode())
            continue
        record = each.append.record
        if record.value.WhichOneof("kind") != "string_value":
            raise ConfigError(f"{at}.append.record", "Only string value is allowed for record value.")
        try:
            value = compile_header_value(record.value.string_value)
        except SidecarError as error:
            raise ConfigError(f"{at}.append.record.value", explain_format_error(error)) from error
        yield QueryAddition(record.key.encode(), value, each.append.action)
