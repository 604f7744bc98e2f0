"""Buckets for descriptors."""

from __future__ import annotations

from sidecar.api.rate_limit import Descriptor
from sidecar.core.token_bucket import TokenBucket
from sidecar.extensions.http.local_limiter import BucketSettings, Limiter, LimiterSettings

A, B = (b"a", b"1"), (b"b", b"2")


def one(tokens: int, per_fill: int = 1, **fields: bool) -> BucketSettings:
    return BucketSettings(tokens, per_fill, 100.0, **fields)


def test_slowest_bucket_is_taken_from_first() -> None:
    limiter = Limiter(LimiterSettings(None, {(A,): one(5, 2), (B,): one(1)}))
    both = [Descriptor((A,)), Descriptor((B,))]
    assert limiter.judge(both, 0.0).is_allowed
    assert not limiter.judge(both, 0.0).is_allowed
    left = limiter.judge([Descriptor((A,))], 0.0)
    assert left.bucket is not None
    assert left.bucket.remaining(0.0) == 3  # the request that was refused took none


def test_value_that_stands_for_any_has_a_bucket_for_each_of_the_last() -> None:
    limiter = Limiter(LimiterSettings(None, {}, (((((b"a", b""),)), one(1)),), max_dynamic_descriptors=2))

    def passes(value: bytes) -> bool:
        return limiter.judge([Descriptor(((b"a", value),))], 0.0).is_allowed

    assert [passes(each) for each in (b"x", b"x", b"y", b"y")] == [True, False, True, False]
    assert passes(b"z")
    assert passes(b"x")  # its bucket had to leave


def test_default_bucket_is_taken_from_besides_unless_told_otherwise() -> None:
    for always, passed in ((True, 2), (False, 4)):
        limiter = Limiter(LimiterSettings(one(2), {(A,): one(4)}, always_consume_default=always))
        verdicts = [limiter.judge([Descriptor((A,))], 0.0).is_allowed for _ in range(5)]
        assert sum(verdicts) == passed


def test_bucket_of_nothing_refuses_and_says_of_no_bucket() -> None:
    verdict = Limiter(LimiterSettings(one(0), {})).judge((), 0.0)
    assert (verdict.is_allowed, verdict.bucket) == (False, None)
    assert Limiter(LimiterSettings(None, {})).judge((), 0.0).is_allowed


def test_hits_are_given_back_up_to_what_fits() -> None:
    limiter = Limiter(LimiterSettings(None, {(A,): one(3)}))
    limiter.judge([Descriptor((A,), hits_addend=3)], 0.0)
    back = limiter.judge([Descriptor((A,), hits_addend=9, is_negative_hits=True)], 0.0)
    assert back.bucket is not None
    assert back.bucket.remaining(0.0) == 3


def test_shadow_bucket_tells_that_it_is_one() -> None:
    limiter = Limiter(LimiterSettings(None, {(A,): one(0, shadow_mode=True)}))
    verdict = limiter.judge([Descriptor((A,))], 0.0)
    assert (verdict.is_allowed, verdict.is_shadow) == (False, True)


def test_bucket_tells_when_the_next_token_comes() -> None:
    bucket = TokenBucket(2, 1, 10.0)
    assert bucket.seconds_until_next(0.0) == 0
    assert bucket.take(0.0, 2)
    assert (bucket.remaining(0.0), bucket.seconds_until_next(0.0)) == (0, 10)
    assert (bucket.remaining(9.5), bucket.seconds_until_next(9.5)) == (0, 1)
    assert (bucket.remaining(10.0), bucket.seconds_until_next(10.0)) == (1, 0)
