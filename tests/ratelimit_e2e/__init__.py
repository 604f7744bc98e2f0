"""The rate limit service of Envoy's project behind sidecar and Envoy: the same limits, the same answers."""
