"""Statistics sinks."""
