"""A transport whose bytes are TLS.

The socket stays the reactor's; between it and whoever reads and writes stands an OpenSSL connection on two
memory buffers.  So a read of the socket is one system call however many records it brings, what is left over
is known without asking the kernel again (edges come once), and bytes that a listener filter has read first
are not lost.  ``recv`` and ``send`` keep the contract of a non-blocking socket's: BlockingIOError when there
is nothing, OSError (``ssl.SSLError`` is one) when it breaks.

Envoy's ``SslSocket``.  What is known of the connection and its peer is :mod:`sidecar.net.tls_facts`'.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.core.errors import Disconnected
from sidecar.net.reactor import Transport
from sidecar.net.tls_library import library
from sidecar.net.tls_verify import NOTHING, Expected

if TYPE_CHECKING:
    from sidecar.net.tls_verify import Verdict, Verifier

__all__ = ["TlsTransport"]

#: What one read of the socket asks for at least: records are 16 KiB.
_READ_SIZE = 65536
#: What is encrypted at a time before it must have left.
_MOST_BYTES = 256 * 1024


class TlsTransport(Transport):
    """One TLS connection over the socket of ``plain``, which must not be used any more."""

    __slots__ = (
        "_backlog",
        "_has_left",
        "_held",
        "_incoming",
        "_is_open",
        "_most",
        "_on_idle",
        "_outgoing",
        "_promised",
        "_raw_recv",
        "_raw_send",
        "_tls",
        "facts",
        "limit",
        "on_closing",
        "tls",
        "verdict",
    )

    def __init__(
        self, plain: Transport, wrap: Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]
    ) -> None:
        self._on_idle: Callable[[], None] | None = None
        super().__init__(plain.sock, plain.reactor, plain)
        # A listener filter may have put something in front of the socket's own recv.
        self._raw_recv = plain.recv
        self._raw_send = plain.send
        #: How many bytes of records are taken in at a time.
        self._most = min(_READ_SIZE, plain.limit)
        self.limit = plain.limit
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        #: The :class:`ssl.SSLObject`, for questions.
        self.tls = wrap(self._incoming, self._outgoing)
        #: What does the work, without the layer of Python around it.
        self._tls: Any = self.tls._sslobj  # type: ignore[attr-defined]  # the C object behind the public one
        #: ``incoming`` or OpenSSL holds bytes that nobody has looked at.
        self._has_left = False
        #: Records that the socket did not take.
        self._backlog: bytes | memoryview = b""
        #: Records that leave with the next ones.
        self._held = b""
        #: The bytes that these records stand for: not sent as far as the sender knows, who comes again.
        self._promised = b""
        self._is_open = False
        #: Of an upstream connection: a :class:`sidecar.net.tls_facts.TlsFacts`.
        self.facts: Any = None
        #: Called with the TLS connection before it is closed.
        self.on_closing: Callable[[ssl.SSLObject], None] | None = None
        #: What was found of the peer's certificate; None where none was shown, or the session resumed.
        self.verdict: Verdict | None = None

    @property
    def on_idle_event(self) -> Callable[[], None] | None:
        return None if self._on_idle is None else self._wake_idle

    @on_idle_event.setter
    def on_idle_event(self, callback: Callable[[], None] | None) -> None:
        self._on_idle = callback

    def _wake_idle(self) -> None:
        """Tickets and key updates come while nobody reads; only what is for the reader is told."""
        if not self.hangup:
            try:
                self._read(1)
            except (BlockingIOError, InterruptedError):
                self.ready = False
                return
            except OSError:
                pass  # the next read finds it again
        self.ready = True
        if self._on_idle is not None:
            self._on_idle()

    # -- handshake --------------------------------------------------------------------------------
    async def handshake(self, verifier: Verifier | None = None, expected: Expected = NOTHING) -> None:
        """Shake hands.  Raises: OSError, ssl.SSLError.  If cancelled: the connection is of no use.

        ``expected``: what the peer's certificate must be for, beside the verifier's rules.
        """
        is_server = self.tls.server_side
        is_first = is_server  # the client begins
        try:
            while is_first or not self._shake(verifier, expected):
                is_first = False
                if self._outgoing.pending and not self._flush():
                    await self._send_outgoing()
                while True:
                    if self.ready:
                        self.ready = False
                    else:
                        await self
                    try:
                        data = self._raw_recv(self._most)
                    except (BlockingIOError, InterruptedError):
                        continue
                    break
                if not data:
                    raise Disconnected("the peer left during the handshake")
                if len(data) == self._most or self.hangup:
                    self.ready = True
                self._incoming.write(data)
        except ssl.SSLError:
            if self.verdict is None or self.verdict.misuse is not False:
                # The alert that says why.
                self._flush_quietly()
            raise
        if is_server and self.tls.version() == "TLSv1.3":
            # Session tickets: nobody waits for them, and as in Envoy they go with the first answer.
            self._held = self._outgoing.read()
        else:
            await self._send_outgoing()
        self._is_open = True
        if self._incoming.pending:
            # What came behind the last message of the handshake came with its edge.
            self._has_left = self.ready = True
        self.recv = self._read
        self.send = self._write

    def _shake(self, verifier: Verifier | None, expected: Expected) -> bool:
        """One step; whether it was the last.  The verifier is asked, if at all, inside this call."""
        if verifier is not None:
            verifier.verdict = None
            verifier.expected = expected
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            if verifier is not None and verifier.verdict is not None:
                self.verdict = verifier.verdict
        return True

    async def _send_outgoing(self) -> None:
        while not self._flush():
            await self.writable()

    # -- bytes ------------------------------------------------------------------------------------
    def _fill(self) -> bool:
        """Take in what the socket has; False at its end.  Raises: BlockingIOError, OSError."""
        try:
            data = self._raw_recv(self._most)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError:
            self.hangup = True  # this read was faster than the event
            raise
        if not data:
            self.hangup = True
            return False
        if len(data) == self._most:
            self.ready = True
        self._incoming.write(data)
        self._has_left = True
        return True

    def _read(self, size: int) -> bytes:
        """Up to ``size`` bytes; ``b""`` at the end, with close_notify or without (as in Envoy)."""
        tls = self._tls
        while True:
            if self._has_left:
                try:
                    data: bytes = tls.read(size)
                except ssl.SSLWantReadError:
                    self._has_left = False
                except ssl.SSLZeroReturnError:
                    self.ready = True
                    return b""
                else:
                    if self._outgoing.pending:
                        self._flush()
                    if self._incoming.pending or tls.pending():
                        if len(data) < size:
                            data = self._gather(data, size)
                        if self._has_left:
                            self.ready = True
                    else:
                        self._has_left = False
                    return data
                if self._outgoing.pending:
                    self._flush()
            if not self._fill():
                self.ready = True
                return b""

    def _gather(self, data: bytes, size: int) -> bytes:
        """``data`` with the records behind it, up to ``size`` bytes in all."""
        tls = self._tls
        pieces = [data]
        left = size - len(data)
        try:
            while left:
                piece = tls.read(left)
                pieces.append(piece)
                left -= len(piece)
        except ssl.SSLWantReadError:
            self._has_left = False
        except ssl.SSLError:
            # What is wrong, or the end, is for the next read, which finds it again.
            self.ready = True
        return b"".join(pieces)

    def _write(self, data: bytes | memoryview) -> int:
        """How much of ``data`` has left.  Less than all: the socket is full, and the rest comes again."""
        done = 0
        if self._backlog:
            if not self._flush():
                raise BlockingIOError
            promised, self._promised = self._promised, b""
            if promised and data[: len(promised)] == promised:
                done = len(promised)
        size = len(data)
        while done < size:
            part = data[done : done + _MOST_BYTES] if done or size > _MOST_BYTES else data
            try:
                sent: int = self._tls.write(part)
            except ssl.SSLWantReadError:
                raise BlockingIOError from None
            if not self._flush():
                self._promised = bytes(part[:sent])
                if done:
                    return done
                raise BlockingIOError
            done += sent
        return done

    def _flush(self) -> bool:
        """Send the records that are waiting; whether all are gone.  Raises: OSError."""
        data = self._backlog
        if self._outgoing.pending:
            more = self._outgoing.read()
            if self._held:
                more = self._held + more
                self._held = b""
            data = more if not data else bytes(data) + more
        if not data:
            return True
        try:
            sent = self._raw_send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(data):
            self._backlog = b""
            return True
        self._backlog = memoryview(data)[sent:]
        self.is_full = True
        return False

    def _flush_quietly(self) -> None:
        try:
            self._flush()
        except OSError:
            return  # nobody is there to read it

    def flush_queued(self) -> None:
        try:
            if self._flush():
                self.is_full = False
        except OSError:
            self.is_full = False  # reading finds out
            return
        if self.queued:
            super().flush_queued()
            self.is_full = self.is_full or bool(self._backlog)

    # -- the end ----------------------------------------------------------------------------------
    def _notify(self) -> None:
        """Send close_notify, as far as there is room for it."""
        if self._is_open:
            self._is_open = False
            openssl = library()
            if openssl is not None:
                openssl.close_notify(self.tls)
            else:
                with contextlib.suppress(OSError):  # the peer's close_notify is not waited for
                    self._tls.shutdown()
            self._flush_quietly()

    def half_close(self) -> None:
        """close_notify; the socket stays open, since the peer's answer may need an alert of ours."""
        if self.on_half_close is not None:
            self.on_half_close()
        self._notify()

    def close(self) -> None:
        if not self.is_closed:
            if self.on_closing is not None:
                self.on_closing(self.tls)
                self.on_closing = None
            if not self._backlog:
                self._notify()
            self._on_idle = None
        super().close()
