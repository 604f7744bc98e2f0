"""Values of the filter state that are more than their text."""

from __future__ import annotations

__all__ = ["HashableText", "PlainText"]


class HashableText(str):
    """Text that a hash policy of the filter state may look at (``envoy.hashable_string``)."""

    __slots__ = ()


class PlainText(str):
    """Text that shows as it is alone, being no message to Envoy (``envoy.tcp_proxy.cluster``)."""

    __slots__ = ()
