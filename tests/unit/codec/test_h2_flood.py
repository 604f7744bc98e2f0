"""The rate of resets; the other floods are in the contract of the codecs."""

from __future__ import annotations

import pytest

from sidecar.codec.h2_flood import ResetLimit
from sidecar.codec.h2_types import ErrorCode, H2ConnectionError, H2Settings


def test_resets_beyond_the_burst_are_an_error() -> None:
    limit = ResetLimit(H2Settings(stream_reset_burst=2, stream_reset_rate=1), 10.0)
    limit.count(10.0)
    limit.count(10.9)
    with pytest.raises(H2ConnectionError) as caught:
        limit.count(10.9)
    assert caught.value.h2_code == ErrorCode.INTERNAL_ERROR
    assert not caught.value.is_flood


def test_allowance_grows_by_the_rate_and_no_further_than_the_burst() -> None:
    limit = ResetLimit(H2Settings(stream_reset_burst=2, stream_reset_rate=1), 10.0)
    limit.count(10.0)
    limit.count(10.0)
    limit.count(11.0)
    for _ in range(2):
        limit.count(100.0)
    with pytest.raises(H2ConnectionError):
        limit.count(100.0)
