"""Statistics, access-log formatting, tracing."""
