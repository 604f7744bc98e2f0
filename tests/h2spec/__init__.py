"""h2spec, the conformance tests of HTTP/2 servers, against this proxy and against Envoy (``just h2spec``)."""
