"""A sidecar proxy on Trio that reads Envoy v3 configuration and behaves as Envoy does."""
