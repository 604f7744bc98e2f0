"""Header mutations of a processor: what is allowed, ignored, refused."""

from __future__ import annotations

import pytest

from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.core.mutation_rules import MutationRules
from sidecar.extensions.proc.mutations import Limits, Refused, apply_changes
from sidecar.extensions.proc.proc_messages import Changes, HeaderSet
from sidecar.observability.stats import Store

LIMITS = Limits(100, 60 * 1024)


def changed(
    *sets: tuple[bytes, bytes], remove: tuple[bytes, ...] = (), rules: MutationRules | None = None
) -> tuple[RequestHeaders, int]:
    """A request after these changes, and how many of them were rejected."""
    headers = RequestHeaders(b"GET", b"/", b"example.com", b"http")
    headers.add(b"x-old", b"1")
    counter = Store().counter("rejected")
    changes = Changes(tuple(HeaderSet(*each) for each in sets), remove, len(sets))
    apply_changes(changes, headers, rules or MutationRules(), counter, LIMITS)
    return headers, counter.value


def test_headers_are_set_and_removed() -> None:
    headers, rejected = changed((b"X-New", b"2"), remove=(b"X-Old",))
    assert headers.fields == [(b"x-new", b"2")]
    assert rejected == 0


def test_routing_headers_are_ignored_and_counted_unless_the_rules_allow_them() -> None:
    headers, rejected = changed((b"host", b"evil"), (b":method", b"PUT"), (b"x-envoy-a", b"1"))
    assert (headers.authority, headers.method) == (b"example.com", b"GET")
    assert rejected == 3
    headers, rejected = changed((b"host", b"other"), rules=MutationRules(allow_all_routing=True))
    assert (headers.authority, rejected) == (b"other", 0)


@pytest.mark.parametrize(
    "field", [(b"x-a", b"1\r\nx-evil: 1"), (b"x-a\r\nx-evil", b"1"), (b"", b"1"), (b"x", b"\0")]
)
def test_what_cannot_be_sent_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(Refused, match="header_mutation_set_contains_invalid_character"):
        changed(field)


def test_pseudo_headers_of_other_messages_are_not_made() -> None:
    headers, _ = changed((b":status", b"200"), (b":protocol", b"websocket"))
    assert b":status" not in headers
    assert headers.protocol is None
    response = ResponseHeaders(200)
    counter = Store().counter("rejected")
    apply_changes(Changes((HeaderSet(b":path", b"/"),), (), 1), response, MutationRules(), counter, None)
    assert response.fields == []


def test_more_headers_than_a_request_may_have_are_refused() -> None:
    many = tuple((b"x-%d" % number, b"1") for number in range(99))
    with pytest.raises(Refused, match="header_mutation_result_exceeds_limit"):
        changed(*many)
    with pytest.raises(Refused, match="header_mutation_operation_count_exceeds_limit"):
        changed(*many, *many)
