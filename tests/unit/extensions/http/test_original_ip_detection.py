"""Extensions that say who the client is."""

from __future__ import annotations

import pytest

from sidecar.api.message import LocalReply
from sidecar.core.address_ranges import compile_addresses
from sidecar.core.headers import RequestHeaders
from sidecar.extensions.http.original_ip_detection import (
    CustomHeaderDetection,
    TrustedNetworksDetection,
    XffDetection,
)
from sidecar.http.client_address import text_address

PEER = "127.0.0.1"


def head(*fields: tuple[bytes, bytes]) -> RequestHeaders:
    return RequestHeaders(b"GET", b"/", b"a", b"http", list(fields))


def forwarded(value: bytes) -> RequestHeaders:
    return head((b"x-forwarded-for", value))


@pytest.mark.parametrize(
    ("hops", "value", "client", "alone"),
    [
        (0, b"1.2.3.4", "1.2.3.4", True),
        (0, b"1.2.3.4, 5.6.7.8", "5.6.7.8", False),
        (1, b"1.2.3.4, 5.6.7.8", "1.2.3.4", False),
        (2, b"1.2.3.4, 5.6.7.8", None, False),
        (0, b"1.2.3.4:5", None, False),
        (0, b"[::1]", None, False),
        (0, b"1.2.3.4,", None, False),
    ],
)
def test_forwarded_address_by_hops(hops: int, value: bytes, client: str | None, alone: bool) -> None:
    assert XffDetection(hops, True).detect(forwarded(value), PEER)[:2] == (client, alone)


@pytest.mark.parametrize(
    ("peer", "value", "client"),
    [
        (PEER, b"9.9.9.9, 192.0.2.1", "9.9.9.9"),
        (PEER, b"192.0.2.2, 192.0.2.1", "192.0.2.2"),
        (PEER, b"9.9.9.9, what, 192.0.2.1", None),
        ("8.8.8.8", b"9.9.9.9, 192.0.2.1", None),
    ],
)
def test_forwarded_address_by_trusted_networks(peer: str, value: bytes, client: str | None) -> None:
    is_trusted = compile_addresses([("127.0.0.0", 8), ("192.0.2.0", 24)])
    assert TrustedNetworksDetection(is_trusted, True).detect(forwarded(value), peer).client == client


def test_request_without_the_header_may_be_refused() -> None:
    rejection = LocalReply(401)
    detection = CustomHeaderDetection(b"x-client", True, rejection)
    assert detection.detect(head(), PEER) is rejection
    assert detection.detect(head((b"x-client", b"what")), PEER) is rejection
    assert detection.detect(head((b"x-client", b"1.2.3.4")), PEER)[:2] == ("1.2.3.4", True)


@pytest.mark.parametrize(
    ("text", "address"),
    [(b"fe80::1%7", "fe80::1%7"), (b"fd00::1%lo", None), (b"fe80::1%no-such-interface", None)],
)
def test_zone_is_the_number_of_an_interface(text: bytes, address: str | None) -> None:
    assert text_address(text) == address
