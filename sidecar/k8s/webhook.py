"""The server of the webhook: HTTP/1.1 over TLS for the API server, plain HTTP for probes and metrics."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import field
from functools import partial

import h11
import trio

from sidecar.core.dataclass import dataclass
from sidecar.k8s.admission import BadReview, Counts, Policy, review

__all__ = ["Certificate", "Webhook", "serve"]

_logger = logging.getLogger("sidecar.webhook")
#: What the API server sends is at most its own limit of an object, 3 MiB.
BODY_LIMIT = 3 << 20
_HEAD_LIMIT = 16 << 10
_IDLE_S = 60.0
_REQUEST_S = 10.0
_CONNECTIONS = 256
_RECHECK_S = 1.0


@dataclass(slots=True)
class Certificate:
    """The TLS context of two files, read anew when they have changed.

    Files that cannot be used keep what was there, and are told of once.
    """

    certificate: str
    key: str
    now: Callable[[], float] = time.monotonic
    _context: ssl.SSLContext | None = None
    _seen: object = None
    _looked: float = field(default=float("-inf"))

    def context(self) -> ssl.SSLContext:
        """The context for the next connection.

        :raises OSError, ssl.SSLError: the first files cannot be used.
        """
        now = self.now()
        if self._context is None or now - self._looked >= _RECHECK_S:
            self._looked = now
            seen = self._signature()
            if seen != self._seen:
                self._seen = seen
                self._load()
        assert self._context is not None
        return self._context

    def _signature(self) -> object:
        try:
            stats = [os.stat(path) for path in (self.certificate, self.key)]
        except OSError as error:
            return str(error)
        return [(item.st_mtime_ns, item.st_ino, item.st_size) for item in stats]

    def _load(self) -> None:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            if self._context is None:
                raise
            text = "%s and %s cannot be used, the last stay: %s"
            _logger.error(text, self.certificate, self.key, error)  # noqa: TRY400  # the reason is said
            return
        if self._context is not None:
            _logger.info("%s was read anew", self.certificate)
        self._context = context


@dataclass(slots=True)
class Webhook:
    """Answers of both ports."""

    policy: Policy
    counts: Counts = field(default_factory=Counts)

    def answer(self, method: str, path: str, content_type: str, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body for a request of the API server."""
        path = path.partition("?")[0]
        if path in ("/healthz", "/readyz"):
            return 200, "text/plain", b"ok\n"
        if path not in ("/inject", "/mutate"):
            return 404, "text/plain", b"there is POST /inject\n"
        if method != "POST":
            return 405, "text/plain", b"POST an AdmissionReview\n"
        if content_type.partition(";")[0].strip().lower() != "application/json":
            return 415, "text/plain", b"content-type is not application/json\n"
        try:
            answer, notes = review(body, self.policy, self.counts)
        except BadReview as error:
            _logger.warning("a review that is none: %s", error)
            return 400, "text/plain", f"{error}\n".encode()
        for note in notes:
            _logger.info("%s", note)
        return 200, "application/json", answer

    def answer_plain(self, method: str, path: str, content_type: str, body: bytes) -> tuple[int, str, bytes]:
        """For a request of a scraper or the kubelet."""
        path = path.partition("?")[0]
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4", self.counts.prometheus().encode()
        if path in ("/healthz", "/readyz"):
            return 200, "text/plain", b"ok\n"
        return 404, "text/plain", b"there are /metrics, /healthz and /readyz\n"


_Answer = Callable[[str, str, str, bytes], tuple[int, str, bytes]]
_Stream = trio.abc.Stream


async def serve(
    webhook: Webhook,
    certificate: Certificate,
    host: str,
    port: int,
    plain_port: int,
    *,
    started: Callable[[int, int], None] = lambda port, plain_port: None,
) -> None:
    """Serve until cancelled.  ``started`` is told the ports that were bound (0 binds any).

    :raises OSError, ssl.SSLError: a port or a certificate cannot be used.
    """
    certificate.context()
    async with trio.open_nursery() as nursery:
        limit = trio.CapacityLimiter(_CONNECTIONS)

        async def secure(raw: trio.SocketStream) -> None:
            stream = trio.SSLStream(raw, certificate.context(), server_side=True, https_compatible=True)
            await _guarded(partial(_connection, stream, webhook.answer), raw, limit)

        async def plain(raw: trio.SocketStream) -> None:
            await _guarded(partial(_connection, raw, webhook.answer_plain), raw, limit)

        tls = await nursery.start(partial(trio.serve_tcp, secure, port, host=host))
        others = await nursery.start(partial(trio.serve_tcp, plain, plain_port, host=host))
        started(tls[0].socket.getsockname()[1], others[0].socket.getsockname()[1])


async def _guarded(
    work: Callable[[], Awaitable[None]], raw: trio.SocketStream, limit: trio.CapacityLimiter
) -> None:
    """Run one connection; whatever befalls it stays its own."""
    try:
        async with limit:
            await work()
    except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError) as error:
        _logger.debug("a connection ended: %s", error)
    except Exception:
        _logger.exception("a connection failed")
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await trio.aclose_forcefully(raw)


async def _connection(stream: _Stream, answer: _Answer) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT)
    while True:
        with trio.move_on_after(_IDLE_S) as idle:
            event = await _event(connection, stream)
        if idle.cancelled_caught or not isinstance(event, h11.Request):
            return
        with trio.move_on_after(_REQUEST_S) as slow:
            if not await _exchange(connection, stream, event, answer):
                return
        if slow.cancelled_caught:
            return


async def _exchange(
    connection: h11.Connection, stream: _Stream, request: h11.Request, answer: _Answer
) -> bool:
    """Answer one request; whether another may follow."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
    status, content_type, body = 413, "text/plain", b"longer than an object may be\n"
    length = headers.get("content-length", "0")
    whole: bytes | None = b""
    if int(length) <= BODY_LIMIT:
        if headers.get("expect", "").lower() == "100-continue":
            head = h11.InformationalResponse(status_code=100, headers=[])
            await stream.send_all(connection.send(head) or b"")
        whole = await _body(connection, stream)
        if whole is not None:
            target = request.target.decode("latin-1")
            kind = headers.get("content-type", "")
            status, content_type, body = answer(request.method.decode(), target, kind, whole)
    else:
        whole = None
    fields = [("content-type", content_type), ("content-length", str(len(body)))]
    if whole is None:
        fields.append(("connection", "close"))
    data = connection.send(h11.Response(status_code=status, headers=fields)) or b""
    if request.method != b"HEAD":
        data += connection.send(h11.Data(data=body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)
    if whole is None or connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    return True


async def _body(connection: h11.Connection, stream: _Stream) -> bytes | None:
    """The body, or None where it is longer than an object may be."""
    parts: list[bytes] = []
    size = 0
    while True:
        event = await _event(connection, stream)
        if isinstance(event, h11.EndOfMessage):
            return b"".join(parts)
        if not isinstance(event, h11.Data):
            raise trio.BrokenResourceError("the client left in the middle of a request")
        size += len(event.data)
        if size > BODY_LIMIT:
            return None
        parts.append(bytes(event.data))


async def _event(connection: h11.Connection, stream: _Stream) -> object:
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            response = h11.Response(status_code=error.error_status_hint, headers=[("connection", "close")])
            if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                data = connection.send(response) or b""
                await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
            raise trio.BrokenResourceError(str(error)) from None
        if event is not h11.NEED_DATA:
            return event
        connection.receive_data(await stream.receive_some(65536))
