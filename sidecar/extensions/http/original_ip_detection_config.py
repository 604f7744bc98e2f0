"""Compiles the extensions of ``original_ip_detection_extensions``.

envoy.extensions.http.original_ip_detection.xff.v3.XffConfig and
envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig.
"""

from __future__ import annotations

from typing import Any

from sidecar.api.context import FactoryContext
from sidecar.api.message import LocalReply
from sidecar.core.address import is_ip
from sidecar.core.address_ranges import compile_addresses
from sidecar.core.errors import ConfigError
from sidecar.extensions.http.original_ip_detection import (
    CustomHeaderDetection,
    TrustedNetworksDetection,
    XffDetection,
)

__all__ = ["CustomHeaderDetectionFactory", "XffDetectionFactory"]

_CATEGORY = "envoy.http.original_ip_detection"
_MESSAGES = "envoy.extensions.http.original_ip_detection"


class XffDetectionFactory:
    """``envoy.http.original_ip_detection.xff``."""

    name = f"{_CATEGORY}.xff"
    category = _CATEGORY
    config_type = f"{_MESSAGES}.xff.v3.XffConfig"

    def compile(self, message: Any, context: FactoryContext) -> XffDetection | TrustedNetworksDetection:
        """By hops, or by networks.  Raises: ConfigError."""
        skip = message.skip_xff_append.value if message.HasField("skip_xff_append") else True
        if not message.HasField("xff_trusted_cidrs"):
            return XffDetection(message.xff_num_trusted_hops, skip)
        if message.xff_num_trusted_hops:
            raise ConfigError("", "Cannot set both xff_num_trusted_hops and xff_trusted_cidrs")
        cidrs = message.xff_trusted_cidrs.cidrs
        if not cidrs:
            return XffDetection(0, skip)
        ranges = []
        for index, each in enumerate(cidrs):
            if is_ip(each.address_prefix):
                ranges.append((each.address_prefix, each.prefix_len.value))
            else:
                path = f"{context.path}.xff_trusted_cidrs.cidrs[{index}]"
                context.warn(path, f"'{each.address_prefix}' is no address: it trusts nobody, as in Envoy")
        return TrustedNetworksDetection(compile_addresses(ranges), skip)


class CustomHeaderDetectionFactory:
    """``envoy.http.original_ip_detection.custom_header``."""

    name = f"{_CATEGORY}.custom_header"
    category = _CATEGORY
    config_type = f"{_MESSAGES}.custom_header.v3.CustomHeaderConfig"

    def compile(self, message: Any, context: FactoryContext) -> CustomHeaderDetection:
        """The header, and what a request without it is answered: any error status, else 403."""
        rejection = None
        if message.HasField("reject_with_status"):
            status = message.reject_with_status.code
            rejection = LocalReply(
                status if 400 <= status < 600 else 403, details="rejecting_because_detection_failed"
            )
        return CustomHeaderDetection(
            message.header_name.lower().encode(), message.allow_extension_to_set_address_as_trusted, rejection
        )
