"""Dynamic configuration: protocol state machines and streams."""
