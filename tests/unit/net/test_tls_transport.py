"""A TLS transport on a pair of sockets: what leaves when, and what is read."""

from __future__ import annotations

import socket
import ssl

import pytest

from sidecar.net.reactor import Strand
from sidecar.net.tls_certificate import load_identity
from sidecar.net.tls_context import ServerContext, TlsSettings
from sidecar.net.tls_names import DEFAULT_CIPHERS, openssl_ciphers
from sidecar.net.tls_transport import TlsTransport
from tests.support.pki import Authority, Leaf
from tests.support.strands import open_lab, settle

ROOT = Authority("root")
LEAF = ROOT.leaf("a.example", "DNS:a.example")


def _server(maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, leaf: Leaf = LEAF) -> ServerContext:
    identity = load_identity(leaf.cert_pem, leaf.key_pem)
    ciphers = tuple(openssl_ciphers(DEFAULT_CIPHERS)[0])
    settings = TlsSettings(
        identities=(identity,), ciphers=ciphers, maximum=maximum, ticket_keys=(bytes(range(80)),)
    )
    return ServerContext(settings)


def _resume(first: ServerContext, second: ServerContext) -> bool:
    """Whether ``second`` resumes a session of ``first``, in TLS 1.2."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    session = None
    for context in (first, second):
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours, theirs = context.wrap(up, down), client.wrap_bio(down, up, session=session)
        waiting = [theirs, ours]
        while waiting:
            for each in list(waiting):
                try:
                    each.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                waiting.remove(each)
        session = theirs.session
    return bool(theirs.session_reused)


def test_session_outlives_the_certificate_where_the_names_are_the_same() -> None:
    renewed = ROOT.leaf("a.example", "DNS:a.example")
    assert _resume(_server(), _server(leaf=renewed))
    assert not _resume(_server(), _server(leaf=ROOT.leaf("a.example", "DNS:b.example")))
    assert not _resume(_server(), _server(leaf=Authority("other").leaf("a.example", "DNS:a.example")))


class _Client:
    """A client over ``sock``, step by step."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.tls = context.wrap_bio(self.incoming, self.outgoing)

    def take(self) -> bytes:
        """What has come."""
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return b""
        self.incoming.write(data)
        return data

    def shake(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass

    def send(self) -> None:
        self.sock.sendall(self.outgoing.read())


async def test_tickets_of_tls_1_3_leave_with_the_first_answer() -> None:
    context = _server()
    async with open_lab() as lab:
        plain, peer = lab.pair()

        async def body(strand: Strand) -> bytes:
            transport = TlsTransport(plain, context.wrap)
            await transport.handshake()
            request = await transport.receive()
            await transport.send_all(b"answer")
            return request

        driven = lab.own(body)
        client = _Client(peer)
        client.shake()
        client.send()
        await settle()
        client.take()
        client.shake()
        client.send()
        await settle()
        assert client.take() == b""
        client.tls.write(b"request")
        client.send()
        await settle()
        client.take()
        assert client.tls.read() == b"answer"
        session = client.tls.session
        assert session is not None
        assert session.has_ticket
        assert driven.result == b"request"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_request_that_comes_with_the_end_of_the_handshake_is_read(version: ssl.TLSVersion) -> None:
    context = _server(version)
    async with open_lab() as lab:
        plain, peer = lab.pair()

        async def body(strand: Strand) -> bytes:
            transport = TlsTransport(plain, context.wrap)
            await transport.handshake()
            return await transport.receive()

        driven = lab.own(body)
        client = _Client(peer)
        client.shake()
        client.send()
        await settle()
        client.take()
        client.shake()
        if version == ssl.TLSVersion.TLSv1_2:
            # The last message is the server's here.
            client.send()
            await settle()
            client.take()
            client.shake()
        client.tls.write(b"request")
        client.send()
        await settle()
        assert driven.result == b"request"
