"""Limits on downstream connections, of one listener and of all."""

from __future__ import annotations

from sidecar.core.runtime import Number
from sidecar.server.connection_limits import ConnectionLimits, GlobalLimit


def test_connections_beyond_a_listeners_limit_are_refused_until_one_leaves() -> None:
    limits = ConnectionLimits(Number("", 1), None)
    assert limits.admit()
    assert not limits.admit()
    limits.leave()
    assert limits.admit()


def test_connections_beyond_the_limit_of_all_are_refused_wherever_they_come() -> None:
    shared = GlobalLimit(2)
    one, two = ConnectionLimits(None, shared), ConnectionLimits(Number("", 5), shared)
    assert one.admit()
    assert two.admit()
    assert not one.admit()
    assert not two.admit()
    one.leave()
    assert two.admit()
    assert shared.count.total() == 2
