"""A control plane made of go-control-plane drives this proxy and Envoy side by side (``just xds-e2e``)."""
