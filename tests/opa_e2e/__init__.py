"""OPA with its plugin for Envoy, as the service that ext_authz asks, behind this proxy and behind Envoy."""
