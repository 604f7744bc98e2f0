"""Upstreams that fail on a schedule, under load, through this proxy and through Envoy (``just chaos``)."""
