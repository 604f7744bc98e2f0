"""Interfaces between the layers: streams, messages, filters, factories. No I/O, no protobuf."""
