"""Addresses that requests name as their destination, and the filter state that carries one.

Clusters of type ORIGINAL_DST look for them (:mod:`sidecar.upstream.original_dst`); a script may set the
state.
"""

from __future__ import annotations

import re

from sidecar.core.address import Address, is_ip

__all__ = ["ORIGINAL_DST_STATE", "parse_destination"]

#: Envoy's name of the object, and of its factory.
ORIGINAL_DST_STATE = "envoy.network.transport_socket.original_dst_address"

_DESTINATION = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]+)):(\d{1,5})\Z", re.ASCII)


def parse_destination(text: str) -> Address | None:
    """The address of ``1.2.3.4:80`` or ``[::1]:80``; None for anything else."""
    match = _DESTINATION.match(text)
    if match is None or int(match[3]) > 65535:
        return None
    bracketed, plain = match[1], match[2]
    host = plain if bracketed is None else bracketed
    if not is_ip(host) or (":" in host) is (bracketed is None):
        return None
    return Address.ip(host, int(match[3]))
