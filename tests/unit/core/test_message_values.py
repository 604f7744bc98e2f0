"""Messages as plain values are on the wire what protobuf makes of them."""

from __future__ import annotations

import pytest
from envoy.config.core.v3.base_pb2 import Locality, Metadata, Node
from google.protobuf import any_pb2, struct_pb2

from sidecar.config.compile.message_values import message_value
from sidecar.core.message_values import StructValue, locality_value, metadata_value, read_fields, write_bytes


def test_metadata_is_what_protobuf_reads() -> None:
    data = {
        "a": {"text": "t" * 200, "number": -1.5, "flag": True, "none": None, "list": [1, {"deep": []}]},
        "b": {},
    }
    typed = any_pb2.Any()
    typed.Pack(struct_pb2.Value(string_value="x"))
    read = Metadata.FromString(metadata_value(data, {"c": typed.SerializeToString()}).encode())
    expected = Metadata()
    for name, value in data.items():
        expected.filter_metadata[name].update(value)
    expected.typed_filter_metadata["c"].CopyFrom(typed)
    assert read == expected


def test_locality_is_what_protobuf_reads() -> None:
    assert Locality.FromString(locality_value("r", "", "s").encode()) == Locality(region="r", sub_zone="s")


def test_message_is_walked_by_its_fields() -> None:
    node = Node(id="n", client_features=["x"])
    node.user_agent_build_version.version.major_number = 3
    value = message_value(node)
    assert value.encode() == node.SerializeToString()
    assert value.fields["id"] == "n"
    assert value.fields["client_features"] == ["x"]
    assert value.fields["user_agent_build_version"].fields["version"].fields["major_number"] == 3
    assert value.fields["locality"].encode() == b""
    assert isinstance(value.fields["metadata"], StructValue)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", {}),
        (write_bytes(1, b"a") + b"\x10\x96\x01", {1: b"a", 2: 150}),
        (write_bytes(1, b"a") + write_bytes(1, b"b"), {1: b"b"}),
        (b"\x08\1" + write_bytes(2, b"x"), {}),  # of another type than the field
        (b"\x4d\0\0\0\0" + b"\x49" + bytes(8) + write_bytes(9, b"other"), {}),
        (b"\x0a\x02\xff\xfe", None),  # no text
        (b"\x1a\x02\xff\xfe", {3: b"\xff\xfe"}),
        (b"\x0a\x05a", None),
        (b"\x0a", None),
        (b"\x00\x01", None),
        (b"\x0b", None),
        (b"\x10" + b"\xff" * 11, None),
    ],
)
def test_fields_are_read_as_protobuf_reads_them(data: bytes, found: dict[int, object] | None) -> None:
    assert read_fields(data, {1: str, 2: int, 3: bytes}) == found
