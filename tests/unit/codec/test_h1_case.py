"""The case in which names of headers are written."""

from __future__ import annotations

from sidecar.codec.h1_case import PreserveCase, proper_case

HEAD = b"GET / HTTP/1.1\r\nHoSt: a\r\nX-FOO: 1\r\nx-foo: 2: x\r\n\r\n"


def test_proper_case_touches_names_alone() -> None:
    head = b"GET /a:b HTTP/1.1\r\nhost: a:80\r\nx-b3-traceid: x-y: z\r\nx_u-1a: b\r\n\r\n"
    assert proper_case(head) == (
        b"GET /a:b HTTP/1.1\r\nHost: a:80\r\nX-B3-Traceid: x-y: z\r\nX_U-1a: b\r\n\r\n"
    )


def test_preserved_names_are_written_as_the_first_of_each_came() -> None:
    case = PreserveCase().read(HEAD)
    sent = b"GET / HTTP/1.1\r\nhost: b\r\nx-foo: 1\r\nx-foo: 2\r\nx-new: 3\r\n\r\n"
    assert case.write(sent) == b"GET / HTTP/1.1\r\nHoSt: b\r\nX-FOO: 1\r\nX-FOO: 2\r\nx-new: 3\r\n\r\n"


def test_preserved_case_may_make_new_names_train_case() -> None:
    case = PreserveCase(proper_case=True).read(HEAD)
    sent = b"HTTP/1.1 200 OK\r\nx-foo: 1\r\nx-envoy-b: c\r\n\r\n"
    assert case.write(sent) == b"HTTP/1.1 200 OK\r\nX-FOO: 1\r\nX-Envoy-B: c\r\n\r\n"


def test_reason_phrase_is_given_where_it_is_to_be_forwarded_and_there() -> None:
    forwarding = PreserveCase(forward_reason_phrase=True)
    assert forwarding.reason(b"HTTP/1.1 200 Fine, Thanks\r\n\r\n") == b"Fine, Thanks"
    assert forwarding.reason(b"HTTP/1.1 200 \r\n\r\n") is None
    assert forwarding.reason(b"HTTP/1.1 200\r\n\r\n") is None
    assert PreserveCase().reason(b"HTTP/1.1 200 Fine\r\n\r\n") is None
