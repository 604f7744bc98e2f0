"""OTLP, of which spans, statistics and access logs are signals."""
