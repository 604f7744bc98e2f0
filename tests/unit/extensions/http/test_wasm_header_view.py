"""Headers as properties: which of them a name is."""

from sidecar.core.headers import RequestHeaders, ResponseHeaders
from sidecar.extensions.http.wasm_values import HeaderView


def test_host_of_a_request_is_its_authority_whatever_its_case() -> None:
    view = HeaderView(RequestHeaders(b"GET", b"/", b"example.com", b"http", [(b"x-a", b"1"), (b"x-a", b"2")]))
    assert view.get(b"host") == view.get(b"Host") == view.get(b":authority") == b"example.com"
    assert view.get(b"X-A") == b"1,2"


def test_host_of_a_response_is_a_field_like_others() -> None:
    assert HeaderView(ResponseHeaders(200, [(b"host", b"a")])).get(b"host") == b"a"
    assert HeaderView(ResponseHeaders(200, [])).get(b"host") is None
