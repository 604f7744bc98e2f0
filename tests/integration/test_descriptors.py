"""A process without file descriptors: who is served stays served, others wait until there are some again."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

from test_server_process import bootstrap, connect, ip, listener, running

TIMEOUT_S = 20.0
REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


def ask(sock: socket.socket) -> bytes:
    sock.sendall(REQUEST)
    data = b""
    while not data.endswith(b"hello"):
        more = sock.recv(65536)
        assert more, data
        data += more
    return data[9:12]


def test_process_without_descriptors_serves_who_is_there_and_recovers(tmp_path: Path) -> None:
    interval = "stats_flush_interval: 0.05s\n"  # what is done in an interval needs files, too
    with running(interval + bootstrap(listener(ip("127.0.0.1"))), tmp_path) as proxy:
        [address] = proxy.addresses()
        first = connect(address)
        assert ask(first) == b"200"
        pid = proxy.process.pid
        count = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (count + 5, most))
        many = [connect(address) for _ in range(50)]
        many[-1].sendall(REQUEST)
        many[-1].settimeout(0.5)
        try:
            answer = many[-1].recv(100)
        except TimeoutError:
            answer = b""
        assert not answer  # it waits in the queue
        assert ask(first) == b"200"
        last = many.pop()
        for sock in many:
            sock.close()
        last.settimeout(TIMEOUT_S)
        assert last.recv(100).startswith(b"HTTP/1.1 200")
        later = connect(address)
        assert ask(later) == b"200"
        for sock in (first, last, later):
            sock.close()
        assert proxy.stop() == 0
