"""Compiles ``envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation``."""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.config.compile.ordered_mutations import compile_ordered_mutations
from sidecar.router.ordered_mutations import OrderedMutations

__all__ = ["EarlyHeaderMutationFactory"]


class EarlyHeaderMutationFactory:
    """``envoy.http.early_header_mutation.header_mutation``."""

    name = "envoy.http.early_header_mutation.header_mutation"
    category = "envoy.http.early_header_mutation"
    config_type = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"

    def compile(self, message: Any, context: FactoryContext) -> OrderedMutations:
        """The mutations, to be done before the connection manager's own.  Raises: ConfigError."""
        return compile_ordered_mutations(message.mutations, f"{context.path}.mutations")
