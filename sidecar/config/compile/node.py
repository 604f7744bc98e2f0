"""``envoy.config.core.v3.Node`` compiled to what extensions may know of it."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sidecar.api.context import NodeInfo
from sidecar.config.compile.message_values import message_value

__all__ = ["compile_node"]


def compile_node(node: Any) -> NodeInfo:
    """The node; flags of the command line were merged into the message when it was loaded."""
    return NodeInfo(
        id=node.id,
        cluster=node.cluster,
        zone=node.locality.zone,
        region=node.locality.region,
        sub_zone=node.locality.sub_zone,
        metadata=json_format.MessageToDict(node.metadata, preserving_proto_field_name=True),
        serialized=node.SerializeToString(),
        message=message_value(node),
    )
