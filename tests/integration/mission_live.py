"""Runs a configuration of the mission's guide with upstreams behind it.

A line that ends in ``# @PORT:name@`` holds a port, one that ends in ``# @HOST:name@`` a host; the names of
OWN are the proxy's, the others name an upstream.
"""

from __future__ import annotations

import contextlib
import http.server
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from proxy_process import Answer, RunningProxy, running_proxy

__all__ = ["MISSION", "Mission", "Seen", "Upstream", "mission"]

MISSION = Path(__file__).parent.parent / "mission"
OWN = ("admin", "listener", "inbound", "outbound")
#: Numbers that stand for the ports of a file until free ones take their place.
_FIRST_PORT = 20001


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as an upstream saw it; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(slots=True)
class Upstream:
    """A server that answers with its name, or as ``answer`` says: status and header fields for a request."""

    name: str
    seen: list[Seen] = field(default_factory=list)
    answer: Callable[[Seen], tuple[int, dict[str, str]]] = lambda _: (200, {})


@dataclass(frozen=True, slots=True)
class Mission:
    """A running file: the proxy and its upstreams by name."""

    proxy: RunningProxy
    numbers: dict[str, int]
    upstreams: dict[str, Upstream]

    def get(self, path: str, headers: dict[str, str] | None = None, to: str = "listener") -> Answer:
        """One GET on a connection of its own."""
        return self.proxy.get(path, headers, port=self.numbers[to])

    def port(self, name: str) -> int:
        """The free port that took the place of this one."""
        number = self.numbers[name]
        return self.proxy.ports.get(number, number)

    def stats(self) -> dict[str, int]:
        """Counters and gauges."""
        lines = self.get("/stats", to="admin").body.decode().splitlines()
        pairs = (line.split(": ") for line in lines)
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


@contextlib.contextmanager
def mission(
    kind: str,
    name: str,
    directory: Path,
    *,
    replace: dict[str, str] | None = None,
    idle: tuple[str, ...] = (),
    tls: dict[str, ssl.SSLContext] | None = None,
) -> Iterator[Mission]:
    """Serve the file, upstreams first, so that health checks find them.

    ``replace`` gives further texts to put in, ``idle`` names upstreams that do not run, ``tls`` those that
    speak it.
    """
    text = (MISSION / name).read_text(encoding="utf-8")
    for old, new in (replace or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    text = re.sub(r"(address: )\S+(\s+# @HOST:)", r"\g<1>127.0.0.1\2", text)
    names = dict.fromkeys(re.findall(r"# @PORT:([\w.]+)@", text))
    numbers = {each: _FIRST_PORT + index for index, each in enumerate(names)}
    upstreams = {each: Upstream(each) for each in names if each not in (*OWN, *idle)}
    with contextlib.ExitStack() as stack:
        for each, upstream in upstreams.items():
            numbers[each] = stack.enter_context(_serving(upstream, (tls or {}).get(each)))
        text = re.sub(
            r"port_value: \d+(\D*# @PORT:([\w.]+)@)", lambda m: f"port_value: {numbers[m[2]]}{m[1]}", text
        )
        keep = [numbers[each] for each in upstreams]
        proxy = stack.enter_context(running_proxy(kind, text, directory, numbers["admin"], keep))
        yield Mission(proxy, numbers, upstreams)


@contextlib.contextmanager
def _serving(upstream: Upstream, tls: ssl.SSLContext | None) -> Iterator[int]:
    """The port that it serves on."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen = Seen(
                self.command, self.path, {name.lower(): value for name, value in self.headers.items()}
            )
            upstream.seen.append(seen)
            status, fields = upstream.answer(seen)
            body = upstream.name.encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **fields}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
