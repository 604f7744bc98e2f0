"""Leaves, one per Envoy extension; ``catalog`` is the list."""
