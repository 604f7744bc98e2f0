"""Downstream HTTP: connection manager, drivers, filter chain runner, bodies, local replies."""
