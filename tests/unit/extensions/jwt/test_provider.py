"""What a provider keeps and makes: its cache, its audiences, headers and metadata."""

from __future__ import annotations

from typing import Any

from sidecar.core.headers import RequestHeaders
from sidecar.extensions.jwt.claim_headers import claim_text
from sidecar.extensions.jwt.locations import HEADER, Extractor, Location, Places
from sidecar.extensions.jwt.proto_json import proto_json
from sidecar.extensions.jwt.provider import Audiences, Provider, ProviderSettings, TokenCache
from sidecar.extensions.jwt.status import Status
from sidecar.extensions.jwt.token import Jwt, parse_jwt
from tests.support import jose

PLACES = Places("", ((b"x-t", b""),), (), ())


def made(payload: dict[str, Any]) -> Jwt:
    jwt = parse_jwt(jose.token(b"k", "HS256", payload).encode())
    assert isinstance(jwt, Jwt)
    return jwt


def test_cache_keeps_what_was_used_last() -> None:
    cache = TokenCache(2, 10)
    jwt = made({})
    for token in (b"a", b"b"):
        cache.put(token, jwt)
    assert cache.get(b"a", 0) is jwt
    cache.put(b"c", jwt)
    cache.put(b"x" * 11, jwt)
    assert [cache.get(each, 0) is jwt for each in (b"a", b"b", b"c", b"x" * 11)] == [True, False, True, False]


def test_cache_forgets_what_has_expired() -> None:
    cache = TokenCache(2, 10)
    cache.put(b"a", made({"exp": 100}))
    assert cache.get(b"a", 160) is not None
    assert cache.get(b"a", 161) is None
    assert cache.get(b"a", 0) is None


def test_audiences_are_compared_without_scheme_and_slash() -> None:
    audiences = Audiences(("http://a/", "b"))
    assert audiences.allow(["https://a"])
    assert audiences.allow(["x", "http://b/"])
    assert not audiences.allow(["http://a//"])
    assert not audiences.allow([])
    assert Audiences(()).allow([])


def test_time_counts_with_the_skew() -> None:
    provider, jwt = Provider(ProviderSettings(PLACES, clock_skew_s=60)), made({"nbf": 1000, "exp": 2000})
    found = [provider.claims_status(jwt, None, now) for now in (939, 940, 2060, 2061)]
    assert found == [Status.JwtNotYetValid, Status.Ok, Status.Ok, Status.JwtExpired]


def test_metadata_does_not_share_what_the_token_has() -> None:
    settings = ProviderSettings(
        PLACES, payload_in_metadata="p", header_in_metadata="h", space_delimited_claims=("scope",)
    )
    provider, jwt = Provider(settings), made({"a": {"b": [1]}, "scope": "x y"})
    metadata: dict[str, Any] = {}
    provider.accept(jwt, Location(HEADER, b"x-t"), RequestHeaders(b"GET", b"/"), metadata)
    metadata["p"]["a"]["b"].append("more")
    metadata["h"]["alg"] = "none"
    assert metadata["p"]["scope"] == ["x", "y"]
    assert jwt.payload == {"a": {"b": [1.0]}, "scope": "x y"}
    assert jwt.header == {"alg": "HS256"}


def test_claims_are_text_in_headers() -> None:
    found = [claim_text(each) for each in ("a", 1.0, -1.0, 2.0**64, 0.5, True, None, [], {"k": 1.0})]
    assert found == [b"a", b"1", b"-1.000000", b"18446744073709551616.000000", b"0.500000", b"true", b"",
                     b"W10=", b"eyJrIjoxfQ=="]  # fmt: skip


def test_json_is_written_as_protobuf_writes_it() -> None:
    assert proto_json({"b": 1e22, "a": ["<\u2028\U0001d173\x01", 0.1, 1 / 3, 4e9]}) == (
        '{"a":["\\u003c\\u2028\\ud834\\udd73\\u0001",0.1,0.33333333333333331,4000000000],"b":1e+22}'
    )


def test_token_is_taken_out_of_the_query_alone() -> None:
    extractor = Extractor((Places("", (), (b"t",), (b"c",)),))
    headers = RequestHeaders(b"GET", b"/a?z=1&t=x&b", b"h", b"http", [(b"cookie", b"c=y")])
    found = extractor.extract(headers)
    assert [token for token, _ in found] == [b"x", b"y"]
    for _, location in found:
        location.remove(headers)
    assert headers.path == b"/a?b=&z=1"
    assert headers.get(b"cookie") == b"c=y"


def test_places_of_several_providers_are_for_their_issuers() -> None:
    one = Places("one", ((b"x", b""),), (), ())
    two = Places("two", ((b"x", b""), (b"y", b"B ")), (), ())
    found = Extractor((one, two)).extract(
        RequestHeaders(b"GET", b"/", b"h", b"http", [(b"x", b"1"), (b"y", b"B 2")])
    )
    assert [(token, location.issuers) for token, location in found] == [
        (b"1", frozenset({"one", "two"})),
        (b"2", frozenset({"two"})),
    ]
