"""Who the client is, and what the connection manager writes into the request (http_conn_man/headers)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from sidecar.api.message import RequestMessage
from sidecar.api.stream import Stream
from sidecar.core.headers import Field, RequestHeaders
from sidecar.http.connection_manager import ConnectionManager
from sidecar.http.request_headers import RequestIds, is_valid_referer, prepare_request_headers
from sidecar.net.reactor import Reactor
from sidecar.observability.stats import Store
from tests.support.h1_lab import ClientConnection, make_manager

UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch


@pytest.fixture
def manager() -> Iterator[ConnectionManager]:
    reactor = Reactor()
    yield make_manager(reactor, Store(), {})
    reactor.close()


def prepare(manager: ConnectionManager, *fields: Field, peer: str = "203.0.113.9:1234") -> Stream:
    connection = ClientConnection()
    connection.remote_address = connection.direct_remote_address = peer
    headers = RequestHeaders(b"GET", b"/", b"a", b"http", list(fields))
    stream = Stream(connection, manager, RequestMessage(headers), "HTTP/1.1")
    prepare_request_headers(manager, stream, headers)
    assert headers.index().keys() == {name for name, _ in headers.fields}
    return stream


def header(stream: Stream, name: bytes) -> bytes | None:
    return stream.request.headers.get_joined(name)


XFF = b"x-forwarded-for"


# -- the trusted client address: the four rows of the reference -------------------------------------------
@pytest.mark.parametrize(
    ("remote", "hops", "forwarded", "expected"),
    [
        (False, 0, None, "203.0.113.9:1234"),
        (False, 0, b"1.1.1.1", "1.1.1.1:0"),
        (False, 0, b"1.1.1.1, 2.2.2.2", "2.2.2.2:0"),
        (False, 0, b"junk", "203.0.113.9:1234"),
        (False, 0, b"1.1.1.1,", "203.0.113.9:1234"),
        (False, 1, b"1.1.1.1,2.2.2.2,3.3.3.3", "2.2.2.2:0"),
        (False, 2, b"1.1.1.1,2.2.2.2,3.3.3.3", "1.1.1.1:0"),
        (False, 3, b"1.1.1.1,2.2.2.2,3.3.3.3", "203.0.113.9:1234"),
        (False, 0, b"2001:db8::1", "[2001:db8::1]:0"),
        (True, 0, None, "203.0.113.9:1234"),
        (True, 0, b"1.1.1.1", "203.0.113.9:1234"),
        (True, 1, b"1.1.1.1,2.2.2.2", "2.2.2.2:0"),
        (True, 2, b"1.1.1.1,2.2.2.2", "1.1.1.1:0"),
        (True, 3, b"1.1.1.1,2.2.2.2", "203.0.113.9:1234"),
        (True, 1, None, "203.0.113.9:1234"),
    ],
)
def test_trusted_client_address_follows_forwarded_for_and_hops(
    manager: ConnectionManager, remote: bool, hops: int, forwarded: bytes | None, expected: str
) -> None:
    manager.use_remote_address = remote
    manager.xff_num_trusted_hops = hops
    fields = [] if forwarded is None else [(XFF, forwarded)]
    assert prepare(manager, *fields).remote_address == expected


def test_forwarded_for_in_several_fields_is_one_list(manager: ConnectionManager) -> None:
    assert prepare(manager, (XFF, b"1.1.1.1"), (XFF, b"2.2.2.2")).remote_address == "2.2.2.2:0"


@pytest.mark.parametrize(
    ("remote", "skip", "forwarded", "expected"),
    [
        (False, False, None, None),
        (False, False, b"1.1.1.1", b"1.1.1.1"),
        (True, False, None, b"203.0.113.9"),
        (True, False, b"1.1.1.1", b"1.1.1.1,203.0.113.9"),
        (True, True, None, None),
        (True, True, b"1.1.1.1", b"1.1.1.1"),
    ],
)
def test_peer_is_appended_to_forwarded_for_only_at_the_edge(
    manager: ConnectionManager, remote: bool, skip: bool, forwarded: bytes | None, expected: bytes | None
) -> None:
    manager.use_remote_address = remote
    manager.skip_xff_append = skip
    fields = [] if forwarded is None else [(XFF, forwarded)]
    assert header(prepare(manager, *fields), XFF) == expected


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("127.0.0.1:4000", b"192.0.2.7"),
        ("[::1]:4000", b"192.0.2.7"),
        ("127.0.0.2:4000", b"127.0.0.2"),
        ("[2001:db8::1]:4000", b"2001:db8::1"),
    ],
)
def test_peer_on_loopback_is_appended_as_the_machine_itself(
    manager: ConnectionManager, peer: str, expected: bytes
) -> None:
    manager.use_remote_address = True
    manager.local_address = b"192.0.2.7"
    stream = prepare(manager, peer=peer)
    assert header(stream, XFF) == expected
    assert stream.remote_address == peer


# -- what a stranger may say ---------------------------------------------------------------------------------
def test_external_request_at_the_edge_loses_what_only_insiders_may_say(manager: ConnectionManager) -> None:
    manager.use_remote_address = True
    names = [
        b"x-envoy-retry-on",
        b"x-envoy-upstream-rq-timeout-ms",
        b"x-envoy-force-trace",
        b"x-envoy-original-path",
    ]
    stream = prepare(manager, *((name, b"1") for name in names))
    assert [header(stream, name) for name in names] == [None] * 4
    assert header(stream, b"x-envoy-external-address") == b"203.0.113.9"


# -- x-forwarded-proto, te, expect, via, user-agent ---------------------------------------------------------
@pytest.mark.parametrize(
    ("remote", "hops", "given", "expected"),
    [
        (False, 0, None, b"http"),
        (False, 0, b"https", b"https"),
        (True, 0, b"https", b"http"),
        (True, 1, b"https", b"https"),
        (True, 1, None, b"http"),
    ],
)
def test_forwarded_proto_is_believed_from_trusted_hops_alone(
    manager: ConnectionManager, remote: bool, hops: int, given: bytes | None, expected: bytes
) -> None:
    manager.use_remote_address = remote
    manager.xff_num_trusted_hops = hops
    fields = [] if given is None else [(b"x-forwarded-proto", given)]
    assert header(prepare(manager, *fields), b"x-forwarded-proto") == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"trailers", b"trailers"),
        (b"gzip, Trailers;q=1", None),
        (b"gzip, trailers", b"trailers"),
        (b"gzip", None),
    ],
)
def test_te_is_kept_only_as_trailers(
    manager: ConnectionManager, given: bytes, expected: bytes | None
) -> None:
    assert header(prepare(manager, (b"te", given)), b"te") == expected


def test_expect_is_answered_here_and_taken_away(manager: ConnectionManager) -> None:
    assert header(prepare(manager, (b"expect", b"100-continue")), b"expect") is None


def test_expectation_of_something_else_is_passed_on(manager: ConnectionManager) -> None:
    assert header(prepare(manager, (b"expect", b"more")), b"expect") == b"more"


@pytest.mark.parametrize("interesting", [False, True])
def test_via_and_user_agent_are_added_on_both_ways(manager: ConnectionManager, interesting: bool) -> None:
    manager.via = b"proxy"
    manager.add_user_agent = True
    manager.service_cluster, manager.service_node = b"svc", b"node"
    stream = prepare(manager, *([(b"te", b"trailers, gzip")] if interesting else []))
    assert header(stream, b"via") == b"proxy"
    assert header(stream, b"user-agent") == b"svc"
    assert header(stream, b"x-envoy-downstream-service-cluster") == b"svc"
    assert header(stream, b"x-envoy-downstream-service-node") == b"node"


def test_user_agent_of_the_client_is_kept(manager: ConnectionManager) -> None:
    manager.add_user_agent = True
    manager.service_cluster = b"svc"
    assert header(prepare(manager, (b"user-agent", b"curl")), b"user-agent") == b"curl"


# -- request ids --------------------------------------------------------------------------------------------
def test_request_ids_are_version_4_uuids_and_never_twice() -> None:
    ids = RequestIds()
    made = [ids.make() for _ in range(1000)]
    assert all(UUID(each) for each in made)
    assert len(set(made)) == 1000


@pytest.mark.parametrize(
    ("remote", "peer", "preserve", "kept"),
    [
        (False, "203.0.113.9:5", False, True),
        (True, "203.0.113.9:5", False, False),
        (True, "203.0.113.9:5", True, True),
    ],
)
def test_request_id_of_a_stranger_is_replaced_unless_preserved(
    manager: ConnectionManager, remote: bool, peer: str, preserve: bool, kept: bool
) -> None:
    manager.use_remote_address = remote
    manager.preserve_external_request_id = preserve
    stream = prepare(manager, (b"x-request-id", b"mine"), peer=peer)
    assert (header(stream, b"x-request-id") == b"mine") is kept
    assert stream.request_id == header(stream, b"x-request-id")


@pytest.mark.parametrize("interesting", [False, True])
@pytest.mark.parametrize("generate", [False, True])
def test_request_id_is_made_when_wanted_and_missing(
    manager: ConnectionManager, generate: bool, interesting: bool
) -> None:
    manager.generate_request_id = generate
    stream = prepare(manager, *([(b"te", b"trailers, gzip")] if interesting else []))
    made = header(stream, b"x-request-id")
    assert stream.request_id == made
    assert (made is not None and UUID(made) is not None) is generate


# -- what is believed, and from whom ------------------------------------------------------------------------
def test_external_request_inside_keeps_what_the_edge_set_and_loses_what_steers_the_router(
    manager: ConnectionManager,
) -> None:
    kept = [b"x-envoy-decorator-operation", b"x-envoy-original-path", b"x-envoy-downstream-service-node"]
    lost = [
        b"x-envoy-ip-tags",
        b"x-envoy-force-trace",
        b"x-envoy-upstream-rq-timeout-ms",
        b"x-envoy-internal",
    ]
    stream = prepare(manager, *((name, b"1") for name in (*kept, *lost)))
    assert [header(stream, name) for name in kept] == [b"1"] * 3
    assert [header(stream, name) for name in lost] == [None] * 4


def test_edge_drops_what_only_it_may_set(manager: ConnectionManager) -> None:
    manager.use_remote_address = True
    lost = [b"x-envoy-decorator-operation", b"x-envoy-original-host", b"x-envoy-downstream-service-cluster"]
    stream = prepare(manager, *((name, b"1") for name in lost), (b"x-envoy-attempt-count", b"7"))
    assert [header(stream, name) for name in lost] == [None] * 3
    assert header(stream, b"x-envoy-attempt-count") == b"7"


def test_client_certificate_header_of_a_plain_connection_is_dropped(manager: ConnectionManager) -> None:
    assert (
        header(prepare(manager, (b"x-forwarded-client-cert", b"Hash=a")), b"x-forwarded-client-cert") is None
    )


def test_empty_forwarded_for_becomes_the_peer_alone(manager: ConnectionManager) -> None:
    manager.use_remote_address = True
    assert header(prepare(manager, (XFF, b"")), XFF) == b"203.0.113.9"


def test_external_address_stands_behind_what_names_the_proxy(manager: ConnectionManager) -> None:
    manager.use_remote_address = manager.add_user_agent = True
    manager.service_cluster = b"svc"
    manager.via = b"proxy"
    stream = prepare(manager, (b"via", b"1.0 client"))
    assert [name for name, _ in stream.request.headers.fields] == [
        b"via",
        XFF,
        b"x-forwarded-proto",
        b"x-envoy-downstream-service-cluster",
        b"user-agent",
        b"x-envoy-external-address",
        b"x-request-id",
    ]
    assert header(stream, b"via") == b"1.0 client, proxy"


@pytest.mark.parametrize("remote", [False, True])
def test_repeated_headers_of_one_entry_arrive_joined(manager: ConnectionManager, remote: bool) -> None:
    manager.use_remote_address = remote
    stream = prepare(manager, (b"accept", b"a"), (b"x", b"1"), (b"accept", b"b"), (b"x", b"2"))
    assert stream.request.headers.fields[:3] == [(b"accept", b"a,b"), (b"x", b"1"), (b"x", b"2")]


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (b"http://a", True),
        (b"http://a:80/x?y", True),
        (b"http://[::1]:80/", True),
        (b"android-app://com.x/", True),
        (b"/path", True),
        (b"nonsense", True),
        (b"a/b:c", True),
        (b"", True),
        (b"http://a#x", False),
        (b"http://u:p@h/", False),
        (b"http://a_b/", False),
        (b"http://a:99999/", False),
        (b"http://a:/", False),
        (b"http://[zz]/", False),
        (b"http://", False),
        (b"about:blank", False),
        (b"a:80", False),
        (b"nonsense\x80", False),
        (b"/a b", False),
        (b"http://a,http://b", False),
    ],
)
def test_referer_that_is_no_url_is_dropped(manager: ConnectionManager, value: bytes, valid: bool) -> None:
    assert is_valid_referer(value) is valid
    assert header(prepare(manager, (b"referer", value)), b"referer") == (value if valid else None)


def test_call_of_grpc_is_prepared_alike_on_the_short_way_and_the_long(manager: ConnectionManager) -> None:
    fields = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    short = prepare(manager, *fields).request.headers
    manager.is_thorough = True
    thorough = prepare(manager, *fields).request.headers
    for headers in (short, thorough):
        assert UUID(headers.get(b"x-request-id") or b"")
        headers.set(b"x-request-id", b"")
    assert short.fields == thorough.fields


def test_te_beside_another_header_that_matters_takes_the_long_way(manager: ConnectionManager) -> None:
    stream = prepare(manager, (b"te", b"trailers"), (b"x-envoy-retry-on", b"5xx"))
    assert header(stream, b"te") == b"trailers"
    assert header(stream, b"x-envoy-retry-on") is None
