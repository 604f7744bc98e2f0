"""Where statistics are sent to (``envoy.stats_sinks``)."""
