"""The comparison of speed: sidecar beside Envoy, nginx, haproxy and an aiohttp proxy (``just bench``)."""
