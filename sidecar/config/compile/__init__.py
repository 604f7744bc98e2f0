"""Protobuf messages compiled to runtime objects; the last place that sees a message."""
