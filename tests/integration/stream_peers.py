"""Peers that move large bodies by hand: a client and an upstream for HTTP/1.1 and HTTP/2, each in a thread.

They read and write whole buffers and look at no more of them than they must, so that the proxy between them
is what takes the time.  ``slow`` bodies are read in small pieces with pauses for a while.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

__all__ = ["Upstream", "download_h1", "download_h2", "upload_h1", "upload_h2"]

CHUNK = bytes(1 << 20)
TIMEOUT_S = 60.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
#: While a reader is slow: so often this long.
PAUSES, PAUSE_S = 10, 0.03
_FRAME_SIZE = 16384
_WINDOW = 1 << 20


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


def window_update(stream_id: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", size))


def literal(name: bytes, value: bytes) -> bytes:
    """A field that leaves no trace in the table (RFC 7541 §6.2.2)."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """The head of an HTTP/1 message, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, "closed inside a head"
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def swallow(sock: socket.socket, size: int, *, slow: bool = False) -> None:
    """Read ``size`` bytes away."""
    buffer = bytearray(1 << 20)
    left = size
    pauses = PAUSES if slow else 0
    while left:
        if pauses and left < size // 2:
            pauses -= 1
            time.sleep(PAUSE_S)
            count = sock.recv_into(buffer, min(left, 65536))
        else:
            count = sock.recv_into(buffer, min(left, len(buffer)))
        assert count, f"closed with {left} bytes to come"
        left -= count


def pour(sock: socket.socket, size: int) -> None:
    """Send ``size`` bytes."""
    for _ in range(size // len(CHUNK)):
        sock.sendall(CHUNK)
    sock.sendall(CHUNK[: size % len(CHUNK)])


class Frames:
    """One HTTP/2 connection by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.rest = b""
        #: What may be sent: the connection's window and the one stream's.
        self.windows = {0: 65535, 1: 65535}
        self._initial = 65535

    def next(self) -> tuple[int, int, int, bytes]:
        """The next frame, settings and windows taken note of."""
        while True:
            if len(self.rest) >= 9:
                word, flags, stream_id = struct.unpack_from(">IBI", self.rest)
                end = 9 + (word >> 8)
                if len(self.rest) >= end:
                    payload = self.rest[9:end]
                    self.rest = self.rest[end:]
                    self._note(word & 255, flags, stream_id, payload)
                    return word & 255, flags, stream_id, payload
            data = self.sock.recv(1 << 18)
            assert data, "closed"
            self.rest += data

    def _note(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        assert kind not in (3, 7), (kind, payload)  # RST_STREAM, GOAWAY
        if kind == WINDOW_UPDATE:
            self.windows[1 if stream_id else 0] += struct.unpack(">I", payload)[0]
        elif kind == SETTINGS and not flags & ACK:
            for identifier, value in struct.iter_unpack(">HI", payload):
                if identifier == 4:
                    self.windows[1] += value - self._initial
                    self._initial = value
            self.sock.sendall(frame(SETTINGS, ACK, 0))

    def send_body(self, stream_id: int, size: int) -> None:
        """Send ``size`` bytes and end the stream, as the windows allow."""
        full = frame(DATA, 0, stream_id, bytes(_FRAME_SIZE)) * 16
        step = len(full) // 16 - 9
        left = size
        while left:
            room = min(self.windows.values())
            if room < step:
                self.next()
                continue
            count = min(room // step, 16, left // step)
            if count == 0:
                self.sock.sendall(frame(DATA, END_STREAM, stream_id, bytes(left)))
                return
            end = count * step == left
            if end:
                head = full[: (count - 1) * (step + 9)]
                self.sock.sendall(head + frame(DATA, END_STREAM, stream_id, bytes(step)))
            else:
                self.sock.sendall(full[: count * (step + 9)])
            for each in self.windows:
                self.windows[each] -= count * step
            left -= count * step

    def read_body(self, stream_id: int, *, slow: bool = False) -> int:
        """Read a body to its end, giving windows back; its size."""
        size = 0
        owed = 0
        pauses = PAUSES if slow else 0
        while True:
            kind, flags, number, payload = self.next()
            if kind != DATA or number != stream_id:
                continue
            size += len(payload)
            owed += len(payload)
            if flags & END_STREAM:
                return size
            if owed >= _WINDOW // 2:
                if pauses and size > 64 << 20:
                    pauses -= 1
                    time.sleep(PAUSE_S)
                self.sock.sendall(window_update(stream_id, owed) + window_update(0, owed))
                owed = 0


_OPEN = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, _WINDOW)) + window_update(0, _WINDOW - 65535)
_REQUEST_BLOCK = b"\x84\x86" + literal(b":authority", b"bench")
_GET, _POST, _OK = b"\x82" + _REQUEST_BLOCK, b"\x83" + _REQUEST_BLOCK, b"\x88"


class Upstream:
    """Answers one request of each connection: GET with a body, POST without one once it was read."""

    def __init__(self, size: int, *, http2: bool) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.size = size
        self.slow = False
        self.errors: list[BaseException] = []
        self._serve: Callable[[socket.socket], None] = self._serve_h2 if http2 else self._serve_h1
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Upstream:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(TIMEOUT_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                with sock:
                    self._serve(sock)
            except (OSError, AssertionError) as error:
                self.errors.append(error)

    def _serve_h1(self, sock: socket.socket) -> None:
        while True:
            try:
                head, rest = read_head(sock)
            except AssertionError:
                return  # the proxy has no more requests
            if head.startswith(b"GET"):
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self.size)
                pour(sock, self.size)
            else:
                swallow(sock, self.size - len(rest), slow=self.slow)
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    def _serve_h2(self, sock: socket.socket) -> None:
        frames = Frames(sock)
        while len(frames.rest) < len(PREFACE):
            frames.rest += sock.recv(4096)
        frames.rest = frames.rest[len(PREFACE) :]
        sock.sendall(_OPEN)
        while True:
            kind, flags, stream_id, _ = frames.next()
            if kind == HEADERS:
                break
        if flags & END_STREAM:
            sock.sendall(frame(HEADERS, END_HEADERS, stream_id, _OK))
            frames.send_body(stream_id, self.size)
        else:
            assert frames.read_body(stream_id, slow=self.slow) == self.size
            sock.sendall(frame(HEADERS, END_HEADERS | END_STREAM, stream_id, _OK))
        try:
            while True:
                frames.next()  # until the proxy closes: windows are still on their way
        except (AssertionError, OSError):
            return


def download_h1(port: int, size: int, *, slow: bool) -> None:
    """GET a body of ``size`` bytes."""
    with connect(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")
        head, rest = read_head(sock)
        assert head.startswith(b"HTTP/1.1 200"), head
        swallow(sock, size - len(rest), slow=slow)


def upload_h1(port: int, size: int) -> None:
    """POST a body of ``size`` bytes."""
    with connect(port) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: %d\r\n\r\n" % size)
        pour(sock, size)
        head, _ = read_head(sock)
        assert head.startswith(b"HTTP/1.1 200"), head


def download_h2(port: int, size: int, *, slow: bool) -> None:
    """The same over HTTP/2."""
    with connect(port) as sock:
        sock.sendall(PREFACE + _OPEN + frame(HEADERS, END_HEADERS | END_STREAM, 1, _GET))
        assert Frames(sock).read_body(1, slow=slow) == size


def upload_h2(port: int, size: int) -> None:
    """The same over HTTP/2."""
    with connect(port) as sock:
        frames = Frames(sock)
        sock.sendall(PREFACE + _OPEN + frame(HEADERS, END_HEADERS, 1, _POST))
        frames.send_body(1, size)
        while frames.next()[0] != HEADERS:
            pass
