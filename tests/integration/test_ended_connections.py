"""Connections that have ended leave nothing that only the garbage collector would free."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_reference import H2ReferenceConnection
from sidecar.codec.h2_types import H2Settings, KeepaliveSettings
from sidecar.http.h1_driver import H1Driver
from sidecar.http.h2_driver import H2Driver
from sidecar.net.reactor import Transport
from sidecar.upstream.h2_connection import H2UpstreamConnection
from tests.support.h1_lab import GET, open_h1_lab
from tests.support.h2_frames import (
    CLIENT_START,
    DATA,
    END_HEADERS,
    END_STREAM,
    POST,
    RESPONSE,
    SERVER_START,
    frame,
    headers,
    request,
)
from tests.support.strands import settle

KINDS = (H1Driver, H2Driver, H2Connection, H2ReferenceConnection, H2UpstreamConnection, Transport)
HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n"


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> int:
    return sum(isinstance(each, KINDS) for each in gc.get_objects())


SENT = {
    "an idle client": b"",
    "a GET without an answer": GET,
    "a body that is cut": HEAD + b"content-length: 10\r\n\r\nabc",
    "a body without an answer": HEAD + b"content-length: 3\r\n\r\nabc",
    "a chunked body that is cut": HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "an idle client of HTTP/2": CLIENT_START,
    "a GET over HTTP/2": CLIENT_START + request(),
    "a body over HTTP/2": CLIENT_START + headers(1, *POST, flags=END_HEADERS) + frame(DATA, 0, 1, b"abc"),
    "what is not HTTP/2": CLIENT_START + frame(DATA, 0, 1, b"abc"),
}


@pytest.mark.parametrize("what", SENT)
@pytest.mark.usefixtures("uncollected")
async def test_connection_of_a_client_leaves_nothing(what: str) -> None:
    async with open_h1_lab() as lab:
        lab.manager.http2_settings = H2Settings(keepalive=KeepaliveSettings(5.0, 10.0))
        await settle()
        before = alive()
        client, driven = lab.connect()
        await settle()
        assert alive() > before
        client.send(SENT[what])
        await settle()
        client.close()
        await settle()
        assert driven.is_over
        del driven
        await settle()
        assert alive() == before


ANSWERED = {
    "nothing": b"",
    "its settings": SERVER_START,
    "a head": SERVER_START + headers(1, *RESPONSE, flags=END_HEADERS),
    "a response": SERVER_START
    + headers(1, *RESPONSE, flags=END_HEADERS)
    + frame(DATA, END_STREAM, 1, b"abc"),
    "what is not HTTP/2": SERVER_START + frame(DATA, 0, 5, b"abc"),
}


@pytest.mark.parametrize("what", ANSWERED)
@pytest.mark.usefixtures("uncollected")
async def test_connection_to_an_upstream_leaves_nothing(what: str) -> None:
    settings = H2Settings(keepalive=KeepaliveSettings(5.0, 10.0))
    async with open_h1_lab(http2=True, http2_settings=settings) as lab:
        await settle()
        before = alive()
        client, driven = lab.connect()
        client.send(HEAD + b"content-length: 10\r\n\r\nabc")
        await settle()
        server = lab.upstream.accept()
        server.send(ANSWERED[what])
        await settle()
        server.close()
        await settle()
        client.close()
        await settle()
        assert driven.is_over
        del driven
        await settle()
        assert alive() == before
