"""What is known of the last assignment: one that comes again is the same object."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2

from sidecar.config.messages import message_class
from sidecar.core.address import Address
from sidecar.upstream.discovery import Endpoint
from sidecar.xds.assignment_pieces import AssignmentPieces
from sidecar.xds.eds import Assignment


def packed(*ports: int) -> tuple[Any, Any]:
    cls = message_class("envoy.config.endpoint.v3.ClusterLoadAssignment")
    assert cls is not None
    message: Any = cls(cluster_name="c")
    for port in ports:
        end = message.endpoints.add() if not message.endpoints else message.endpoints[0]
        address = end.lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "192.0.2.1", port
    made = any_pb2.Any()
    made.Pack(message)
    return made, message


def compiled(message: Any) -> Assignment:
    ports = [
        each.endpoint.address.socket_address.port_value
        for locality in message.endpoints
        for each in locality.lb_endpoints
    ]
    return Assignment("c", tuple(Endpoint(Address.ip("192.0.2.1", port)) for port in ports))


def test_assignment_that_comes_again_is_the_same_object_and_looked_at_by_nobody() -> None:
    pieces = AssignmentPieces()
    first, message = packed(1, 2)
    pieces.remember(first, message, compiled(message))
    judged: list[Any] = []

    def judge(message: Any) -> Assignment:
        judged.append(message)
        return compiled(message)

    found = [pieces.again(packed(*ports)[0], (), judge) for ports in ((1, 2, 3), (1, 2, 3), (3, 1), (3, 1))]
    assert all(each is not None for each in found)
    values = [each[1] for each in found if each is not None]
    assert values[0] is values[1]
    assert values[2] is values[3]
    assert [each.address and each.address.port for each in values[3].endpoints] == [3, 1]
    assert len(judged) == 1


def test_resource_without_bytes_is_not_the_last_assignment() -> None:
    pieces = AssignmentPieces()
    first, message = packed(1)
    pieces.remember(first, message, compiled(message))
    nothing = any_pb2.Any(type_url=first.type_url)
    assert pieces.again(nothing, (), compiled) is None
