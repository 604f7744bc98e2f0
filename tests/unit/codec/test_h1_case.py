"""Names in Train-Case."""

from sidecar.codec.h1_case import proper_case


def test_head_in_proper_case_has_capitals_in_its_names_alone() -> None:
    head = b"GET /a:b HTTP/1.1\r\nhost: a-b: c\r\nx-some_thing.else: d\r\n1st: x\r\n\r\n"
    assert proper_case(head) == (
        b"GET /a:b HTTP/1.1\r\nHost: a-b: c\r\nX-Some_Thing.Else: d\r\n1st: x\r\n\r\n"
    )
