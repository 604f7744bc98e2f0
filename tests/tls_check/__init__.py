"""A scan of TLS listeners, ours and Envoy's, from one file (``just tls-check``)."""
