"""Dynamic configuration: protocol state machines and streams.

Three roles: a *transport* (:mod:`~sidecar.xds.filesystem` so far) brings responses, a *kind* of resource
(:mod:`~sidecar.xds.eds` has the first) says how one is decoded, checked and compiled, a *subscriber* takes
what came or refuses it.  :mod:`~sidecar.xds.subscription` holds what they agree on.
"""
